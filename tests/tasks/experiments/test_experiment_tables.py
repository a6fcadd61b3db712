"""Tables of an experiment, with numbers that a reader can redo."""

from tasks.experiments.tables import curve_table, markdown, probe_table, seed_table


def curve(*success: float, final: float = 0.5) -> list[dict[str, float]]:
    rows = [{"success": value, "cpu_seconds": 2.0, "turns": 3.0, "entropy": 0.25} for value in success]
    return [*rows[:-1], {**rows[-1], "final_success": final}]


def test_an_arm_is_compared_with_the_baseline_of_the_same_seed() -> None:
    measured = {
        ("outcome", 1): curve(0.2, 0.4),
        ("outcome", 2): curve(0.4, 0.6),
        ("better", 1): curve(0.4, 0.6),
        ("better", 2): curve(0.5, 0.9),
    }

    table = curve_table(
        measured, arms=("outcome", "better"), baseline="outcome", oracle="", conversations=100
    )
    better = dict(zip(table.columns, table.rows[1], strict=True))

    # Areas .5 and .7 against .3 and .5: both seeds gain exactly .2.
    assert better["less outcome (paired)"] == "+0.200 [+0.200, +0.200]"
    assert better["area under the curve"].startswith("0.600 [")
    assert better["CPU-s per iteration"] == "2.0"


def test_half_of_the_oracles_gain_is_fifty_percent() -> None:
    measured = {
        (arm, seed): curve(start + seed / 10)
        for seed in (1, 2)
        for arm, start in (("outcome", 0.2), ("half", 0.3), ("oracle_pi", 0.4))
    }
    arms = ("outcome", "half", "oracle_pi")

    table = curve_table(measured, arms=arms, baseline="outcome", oracle="oracle_pi", conversations=8)

    assert [row[4] for row in table.rows] == ["0%", "50%", "100%"]


def test_a_part_of_a_gain_that_may_be_nothing_is_not_shown() -> None:
    measured = {
        ("outcome", 1): curve(0.2),
        ("oracle_pi", 1): curve(0.3),
        ("outcome", 2): curve(0.3),
        ("oracle_pi", 2): curve(0.3),
    }

    table = curve_table(
        measured, arms=("outcome", "oracle_pi"), baseline="outcome", oracle="oracle_pi", conversations=8
    )

    assert [row[4] for row in table.rows] == ["", ""]


def test_seeds_that_never_came_to_a_level_are_counted_not_averaged() -> None:
    measured = {("outcome", 1): curve(0.75, 0.75, 0.75), ("outcome", 2): curve(0.1, 0.1, 0.1)}

    table = curve_table(measured, arms=("outcome",), baseline="outcome", oracle="", conversations=100)

    assert table.rows[0][5:8] == ("0 (1 of 2)", "0 (1 of 2)", "- (0 of 2)")


def test_arms_that_have_not_been_run_are_left_out() -> None:
    table = curve_table(
        {("outcome", 1): curve(0.5)},
        arms=("outcome", "later"),
        baseline="outcome",
        oracle="",
        conversations=8,
    )

    assert [row[0] for row in table.rows] == ["`outcome`"]


def test_every_seed_has_its_line() -> None:
    table = seed_table({("outcome", 7): curve(0.25, 0.5)}, arms=("outcome",))

    assert table.rows == (("`outcome`", "7", "25 50"),)


def test_the_same_row_of_a_probe_is_averaged_over_seeds() -> None:
    measured = {
        ("probe", 1): [
            {"model": "prm", "rows": 9, "rank": 0.25},
            {"model": "q", "rows": 9, "rank": None},
        ],
        ("probe", 2): [{"model": "prm", "rows": 9, "rank": 0.75}, {"model": "q", "rows": 9, "rank": 0.5}],
    }

    table = probe_table(measured)

    # Two values .25 apart from their mean: 12.706 * .3536 / 1.4142 = 3.1765 to either side.
    assert table.columns == ("model", "rows", "rank")
    assert table.rows == (("prm", "9", "0.500 [-2.676, 3.676]"), ("q", "9", "0.5"))


def test_markdown_has_a_rule_below_its_heads() -> None:
    text = markdown(seed_table({("outcome", 7): curve(0.25)}, arms=("outcome",)))

    assert text.splitlines()[1:] == ["|---|---|---|", "| `outcome` | 7 | 25 |"]
