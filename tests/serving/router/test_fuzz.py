"""A share of the fuzzing of `tests.serving.fuzz`; `make fuzz` runs a million cases."""

import random

import pytest

from tests.serving import fuzz


@pytest.mark.parametrize("seed", range(4))
def test_no_mutation_desyncs(seed: int) -> None:
    """1,000 mutated pipelines a seed: nothing escapes, h11 agrees on every request, answers come in their order."""
    counts, found = fuzz.run(1000, 10_000 + seed)
    assert not found, found[0]
    assert counts["requests"] > 500, "the mutations leave too little that is valid"
    assert counts["refused"] > 200, "the mutations leave too little that is broken"


@pytest.mark.parametrize("data", fuzz.SEEDS, ids=lambda data: data[:60].decode("latin-1"))
def test_a_valid_request_is_taken(data: bytes) -> None:
    """The seeds themselves are understood, by h11 and by the router alike: mutations start from sense."""
    counts = fuzz.check(data, random.Random(0))  # noqa: S311  cuts
    assert (counts["requests"], counts["refused"]) == (1, 0)


def test_the_judge_would_notice_a_smuggled_request() -> None:
    """h11 reads a second request where one hides behind a body: agreement is no accident of the judge."""
    hidden = b"GET /inner HTTP/1.1\r\nHost: b\r\n\r\n"
    raw = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" + hidden
    assert [target for _, target, _, _ in fuzz.strictly(raw)] == [b"/a", b"/inner"]


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.0\r\nConnection: Upgrade", b"HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade"],
    ids=["HTTP/1.0 without keep-alive", "close beside upgrade"],
)
def test_an_offered_upgrade_keeps_no_connection_open(head: bytes) -> None:
    """The million found it: an offered upgrade made the router read on where the client had said that it ends."""
    data = (
        b"POST /a " + head + b"\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabcGET /inner HTTP/1.1\r\nHost: b\r\n\r\n"
    )
    for seed in range(20):
        assert fuzz.check(data, random.Random(seed))["requests"] == 1  # noqa: S311  cuts
