"""The split: exact shares, and keys that stay."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gyre_serving.router.split import Lot, winner

KEYS = [f"user-{index}".encode() for index in range(2000)]


def _assign(weights: dict[str, int], salt: str = "") -> list[str]:
    names = [name for name, weight in weights.items() if weight]
    lots = [Lot(salt, name, weights[name]) for name in names]
    return [names[winner(lots, key)] for key in KEYS]


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.integers(1, 99), min_size=2, max_size=5).map(sorted), salt=st.text(max_size=8))
def test_key_on_the_candidate_stays_while_weights_grow(steps: list[int], salt: str) -> None:
    """Through any growing weights of the candidate, no key leaves it."""
    before: set[int] = set()
    for weight in steps:
        assigned = _assign({"stable": 100 - weight, "candidate": weight}, salt)
        now = {index for index, name in enumerate(assigned) if name == "candidate"}
        assert before <= now
        before = now


@settings(max_examples=30, deadline=None)
@given(first=st.integers(1, 40), growth=st.integers(1, 30), data=st.data())
def test_growth_of_one_of_three_takes_no_key_from_it(first: int, growth: int, data: st.DataObject) -> None:
    """With three revisions, the one that grows while the others do not keeps all its keys."""
    rest = 100 - first
    a = data.draw(st.integers(growth, rest - 1))
    before = _assign({"a": a, "b": rest - a, "c": first})
    after = _assign({"a": a - growth, "b": rest - a, "c": first + growth})
    assert all(new == "c" for old, new in zip(before, after, strict=True) if old == "c")


def test_order_of_the_table_does_not_matter() -> None:
    """The same weights in another order give every key the same revision."""
    assert _assign({"a": 30, "b": 70}) == _assign({"b": 70, "a": 30})


def test_shares_are_the_weights() -> None:
    """Over 20,000 keys the realised shares pass a chi-square test at 0.1 % (two degrees of freedom: 13.8)."""
    weights = {"a": 60, "b": 30, "c": 10}
    lots = [Lot("salt", name, weight) for name, weight in weights.items()]
    counts = [0, 0, 0]
    total = 20_000
    for index in range(total):
        counts[winner(lots, b"%d" % index)] += 1
    chi = sum((got - total * w / 100) ** 2 / (total * w / 100) for got, w in zip(counts, weights.values(), strict=True))
    assert chi < 13.8


def test_salt_reshuffles() -> None:
    """Another salt is another draw: about half of the keys of an even split change."""
    moved = sum(a != b for a, b in zip(_assign({"a": 50, "b": 50}, "1"), _assign({"a": 50, "b": 50}, "2"), strict=True))
    assert 850 < moved < 1150
