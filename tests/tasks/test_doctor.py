"""What `itpo doctor` says about a machine where something is wrong."""

from pathlib import Path

import pytest

from tasks import doctor
from tasks.doctor import State
from tests.storage.servers import PASSWORD


def test_a_sound_machine_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(str(tmp_path / "lake")) == 0
    assert "everything required is here" in capsys.readouterr().out


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    doctor.run(str(tmp_path / "lake"))

    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_lake_fails_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    status = doctor.run("/proc/lake")  # nobody can make files there, not even root

    assert status == 1
    assert "missing: lake root" in capsys.readouterr().out


def test_a_file_where_the_lake_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("not a folder")

    (finding,) = doctor.check_lake(f"file://{tmp_path}/lake")

    assert finding.state is State.MISSING
    assert finding.found == f"{tmp_path}/lake is a file"


def test_an_address_of_no_known_kind_is_missing() -> None:
    (finding,) = doctor.check_lake("ftp://host/lake")

    assert (finding.state, finding.found) == (State.MISSING, "ftp:// is no kind of lake")


def test_a_sound_bucket_is_looked_at_from_all_sides(moto_lake: str) -> None:
    findings = doctor.check_lake(moto_lake)

    assert [finding.name for finding in findings] == [
        "lake root",
        "credentials",
        "clock",
        "conditional writes",
    ]
    assert {finding.state for finding in findings} == {State.FINE}
    assert findings[1].found == "from env"
    assert PASSWORD not in str(findings)


def test_a_bucket_where_racing_writers_all_win_is_missing_something(forgetful_lake: str) -> None:
    *_, writes = doctor.check_lake(forgetful_lake)

    assert (writes.name, writes.state) == ("conditional writes", State.MISSING)
    assert "single_writer" in writes.remedy


def test_a_bucket_that_is_not_there_says_so(moto_lake: str) -> None:
    (finding,) = doctor.check_lake("s3://no-such-bucket/lake")

    assert finding.state is State.MISSING
    assert "no such bucket" in finding.remedy


@pytest.mark.parametrize(
    ("skew_s", "state"), [(59.0, State.FINE), (-59.0, State.FINE), (61.0, State.MISSING)]
)
def test_a_clock_a_minute_off_is_to_be_set(skew_s: float, state: State) -> None:
    assert doctor.check_clock(skew_s).state is state


def test_an_absent_package_gets_the_state_and_remedy_it_was_given() -> None:
    (finding,) = doctor.check_packages(["no-such-package"], state=State.MISSING, remedy="make setup")

    assert (finding.state, finding.found, finding.remedy) == (State.MISSING, "not installed", "make setup")


def test_a_full_disk_is_missing_space(tmp_path: Path) -> None:
    finding = doctor.check_disk(str(tmp_path), needed_bytes=1 << 60)

    assert finding.state is State.MISSING
    assert "move the lake" in finding.remedy


@pytest.mark.parametrize(("version", "state"), [((3, 11), State.FINE), ((3, 10), State.MISSING)])
def test_the_locks_are_for_one_python(version: tuple[int, int], state: State) -> None:
    assert doctor.check_python(version).state is state


def test_what_is_only_useful_never_stands_in_the_way(tmp_path: Path) -> None:
    found = [
        doctor.check_cores(1),
        doctor.check_gpu(tmp_path / "no-driver"),
        doctor.check_browser(["no-such-browser"]),
        doctor.check_byte_code({"PYTHONDONTWRITEBYTECODE": "1"}),
    ]

    assert [finding.state for finding in found] == [State.OPTIONAL] * 4
    assert all(finding.remedy for finding in found)
