"""Columns that may hold outcomes are found by what is in them, and told by how similar their names are."""

from itpo_core.logs.outcome_search import like_outcomes


def test_columns_of_numbers_from_0_to_1_and_of_truths_are_found_the_most_similar_first() -> None:
    rows = [
        {"id": 7, "resolved": True, "metadata": {"score": 0.5, "city": "Bern"}, "messages": [{"x": 1}]},
        {"id": 8, "resolved": None, "metadata": {"score": 1, "city": "Basel"}, "messages": []},
    ]

    assert like_outcomes(rows, asked="resolvd") == ["resolved", "metadata.score"]
    assert like_outcomes(rows, asked="scores") == ["metadata.score", "resolved"]


def test_one_value_that_is_no_outcome_is_enough_against_a_column() -> None:
    rows = [{"stars": 1, "won": "yes", "nan": 0.0, "none": None}, {"stars": 5, "nan": float("nan")}]

    assert like_outcomes(rows, asked="outcome") == []
