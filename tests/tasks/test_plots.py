"""Plots say what they show: names, units and intervals; and the same rows give the same bytes."""

import re

from matplotlib import pyplot

from tasks.plots import Point, credit_by_kind, curves, from_error, stacked_shares, svg

POINTS = [Point(0, 30.0, 28.0, 32.0), Point(1, 60.0, 57.0, 63.0)]
DROPS = [
    {"iteration": 0, "fate": "failed", "share": 0.25},
    {"iteration": 1, "fate": "small_group", "share": 0.5},
]


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_curves_name_their_series_and_the_units_of_both_axes() -> None:
    drawn = curves(
        {"unseen": POINTS, "seen": POINTS}, label="Success", y="success (%)", limits={"gate 50": 50.0}
    )

    assert {"unseen", "seen", "gate 50", "iteration", "success (%)"} <= set(texts(drawn))


def test_an_interval_is_drawn_and_a_point_without_one_has_none() -> None:
    with_interval = curves({"a": POINTS}, label="A", y="y")
    without = curves({"a": [Point(0, 30.0), Point(1, 60.0)]}, label="A", y="y")

    assert with_interval != without
    assert 'id="a-LineCollection_1"' in with_interval


def test_a_95_percent_interval_is_196_standard_errors_wide_on_each_side() -> None:
    assert from_error(1, 0.5, error=0.1, scale=100) == Point(1, 50.0, 50.0 - 19.6, 50.0 + 19.6)
    assert from_error(1, 0.5) == Point(1, 0.5)


def test_an_unknown_mean_is_no_point_and_no_zero() -> None:
    assert from_error(1, None, error=0.1) is None
    assert curves({"a": [None, None]}, label="A", y="y") == ""


def test_the_same_rows_give_the_same_bytes() -> None:
    first = curves({"a": POINTS}, label="A", y="y")
    second = curves({"a": POINTS}, label="A", y="y")

    assert first == second


def test_two_figures_of_a_page_have_no_id_in_common() -> None:
    ids = [set(re.findall(r'\bid="([^"]+)"', curves({"a": POINTS}, label=name, y="y"))) for name in "AB"]

    assert ids[0]
    assert not ids[0] & ids[1]


def test_every_reference_inside_a_figure_leads_to_an_id_of_it() -> None:
    drawn = curves({"a": POINTS}, label="A & B", y="y")

    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn))
    assert references
    assert references <= set(re.findall(r'\bid="([^"]+)"', drawn))


def test_a_figure_tells_its_name_to_who_cannot_see_it() -> None:
    assert 'role="img" aria-label="A &lt;b&gt;"' in curves({"a": POINTS}, label="A <b>", y="y")


def test_a_name_with_markup_stays_text() -> None:
    drawn = curves({"<script>": POINTS, "b": POINTS}, label="A", y="y")

    assert "<script>" not in drawn
    assert "&lt;script&gt;" in drawn


def test_a_single_iteration_has_one_tick_and_no_fractions_of_it() -> None:
    drawn = curves({"a": POINTS[:1], "b": POINTS[:1]}, label="A", y="y", y_range=(0, 100))

    assert [text for text in texts(drawn) if re.fullmatch(r".?[\d.]+", text)][:1] == ["0"]
    assert not any("." in text for text in texts(drawn))


def test_shares_are_stacked_under_their_names_for_people() -> None:
    drawn = stacked_shares(
        DROPS, part="fate", share="share", label="Dropped", words={"failed": "something broke"}, whole=False
    )

    assert {"something broke", "small_group", "share (%)"} <= set(texts(drawn))
    assert stacked_shares([], part="fate", share="share", label="Dropped", words={}) == ""


def test_credit_has_a_panel_per_method_with_kinds_in_the_given_order() -> None:
    rows = [
        {"turn_kind": kind, "method": method, "mean": mean, "standard_error": None}
        for kind, mean in (("ask", 0.5), ("chat", -0.5))
        for method in ("itpo", "oracle_pi")
    ]

    drawn = credit_by_kind(
        rows, ["itpo", "oracle_pi"], label="Credit", words={"oracle_pi": "truth"}, kinds=["chat", "ask"]
    )

    named = texts(drawn)
    assert named.index("chat") < named.index("ask")
    assert {"itpo", "truth"} <= set(named)


def test_a_figure_of_somebody_else_is_closed_after_drawing() -> None:
    figure, _ = pyplot.subplots()

    drawn = svg(figure)

    assert drawn.startswith("<svg")
    assert figure.number not in pyplot.get_fignums()
