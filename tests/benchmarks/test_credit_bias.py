"""The generated tables of docs/method.md: where they go, and that the page holds today's numbers."""

import re

import pytest

from benchmarks import credit_bias
from itpo_core.tabular_gradients import Bias

NUMBER = re.compile(r"[-+]?\d+\.\d+")


def on_the_page(name: str) -> str:
    text = credit_bias.PAGE.read_text(encoding="utf-8")
    return text.split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0].strip()


def numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]


def test_a_section_lands_between_its_marks_and_nowhere_else() -> None:
    page = "a\n<!-- bound: begin -->\nold\n<!-- bound: end -->\nz"

    found = credit_bias.replaced(page, "bound", section="new\n")

    assert found == "a\n<!-- bound: begin -->\n\nnew\n\n<!-- bound: end -->\nz"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks <!-- bias: begin -->"):
        credit_bias.replaced("text", "bias", section="new")


def test_a_bias_below_a_thousandth_is_none() -> None:
    exact = Bias(1.0, 1.0, 0.0, 1e-4, turn_weights=(1.0, 1.0), noise=3.0)

    # 1 / sqrt(1 + 9 / 128) and 1 / sqrt(1 + 9 / 2048).
    assert credit_bias.figures(exact) == ["yes", "1.000", "0.000", "1.00 1.00", "3.0", "0.97", "1.00"]


def test_the_page_holds_the_bounds_of_today() -> None:
    today = credit_bias.bound_table()

    assert numbers(today) == pytest.approx(numbers(on_the_page("bound")), abs=0.0011)


@pytest.mark.slow
def test_the_page_holds_the_biases_of_today() -> None:
    today = credit_bias.bias_tables()

    assert len(numbers(today)) > 300
    assert numbers(today) == pytest.approx(numbers(on_the_page("bias")), abs=0.011)
