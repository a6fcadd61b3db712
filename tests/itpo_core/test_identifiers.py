"""Names and seeds depend on their parts, and on nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from itpo_core.identifiers import derive_seed, stable_id

PARTS = st.lists(st.one_of(st.integers(), st.text()), max_size=4)


def test_names_and_seeds_never_change() -> None:
    assert stable_id("sales", 0) == "2a0e030acaadcfd05cef8e4fe7495144"
    assert derive_seed(0, "scenario", 3) == 8002511641898751323


@given(first=PARTS, second=PARTS)
def test_different_parts_give_different_names(first: list[str | int], second: list[str | int]) -> None:
    assert (stable_id(*first) == stable_id(*second)) == (first == second)


def test_borders_and_types_of_parts_count() -> None:
    names = {stable_id("ab", "c"), stable_id("a", "bc"), stable_id("abc"), stable_id("1"), stable_id(1)}

    assert len(names) == 5


def test_a_name_is_32_hexadecimal_characters() -> None:
    name = stable_id("any", 1, "thing")

    assert len(name) == 32
    assert set(name) <= set("0123456789abcdef")


@given(root=st.integers(0, 2**63 - 1), path=PARTS)
def test_a_seed_fits_a_signed_64_bit_column(root: int, path: list[str | int]) -> None:
    assert 0 <= derive_seed(root, *path) < 2**63


def test_seeds_fill_their_range_evenly() -> None:
    seeds = [derive_seed(7, "purpose", index) for index in range(2000)]

    upper_half = sum(seed >= 2**62 for seed in seeds) / 2000
    assert abs(upper_half - 0.5) < 0.05  # 4.5 standard errors
