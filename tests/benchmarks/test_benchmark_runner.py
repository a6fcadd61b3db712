"""The runner of benchmarks: one process each, a page only from sections that were measured."""

from pathlib import Path

import pytest

from benchmarks.run import BenchmarkError, Section, find, machine_facts, page, run_one


def benchmark(folder: Path, body: str) -> Path:
    path = folder / "bench_small.py"
    path.write_text(f"def main() -> str:\n    {body}\n")
    return path


def test_a_section_is_what_main_returns(tmp_path: Path) -> None:
    section = run_one(benchmark(tmp_path, "print('half way'); return '## Small\\n\\n3 times'"))

    assert (section.name, section.text) == ("small", "## Small\n\n3 times")
    assert section.wall_s > 0


def test_a_benchmark_that_breaks_stops_the_page(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="small ended with status 1"):
        run_one(benchmark(tmp_path, "raise SystemExit(1)"))


def test_a_benchmark_that_returns_no_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="returned no section"):
        run_one(benchmark(tmp_path, "return ''"))


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    benchmark(tmp_path, "return '# A'")

    with pytest.raises(BenchmarkError, match="no benchmark is called large; there are small"):
        find(tmp_path, ["large"])


def test_the_page_names_the_machine_and_the_command() -> None:
    text = page([Section("small", "## Small\n\n3 times", 4.2)], {"cores": "2"})

    assert text.splitlines()[:3] == [
        "# Benchmarks",
        "",
        "Written by `make bench`; ratios within one section come from one run.",
    ]
    assert "- cores: 2\n\n## Small\n\n3 times\n\n*`make bench-small`, 4 s*\n" in text


def test_the_machine_is_described_in_full() -> None:
    facts = machine_facts()

    assert all(facts.values())
    assert "torch 2.13.0" in facts["packages"]
