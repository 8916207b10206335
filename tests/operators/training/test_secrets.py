"""What a training's output gives away on objects that more people read than its log."""

import json

import pytest

from gyre_operators.workload.messages import with_tail
from tests.operators.training.conftest import Make
from tests.operators.training.fates import ONCE, reported


async def test_password_of_a_database_is_in_no_event_and_no_status(make: Make) -> None:
    """The driver's last line names the address with its password, and that line is what an Event ends with."""
    cluster = make(**ONCE)
    await cluster.settle()
    line = "OperationalError: cannot reach postgresql://team:hunter2@db:5432/people"
    reported("train", 1, "UserError", "The command ended with exit code 1.", tail=[line])(cluster)
    (event,) = (await cluster.plan()).events
    assert event.message.endswith("cannot reach postgresql://team:***@db:5432/people")
    status = await cluster.settle()
    assert "hunter2" not in json.dumps(status)
    assert "team:***@db" in json.dumps(status)


@pytest.mark.parametrize(
    "line",
    ["see https://example.com:8080/a@b", "s3://bucket/key:with@sign", "mail a:b@c", "ratio 3://4"],
    ids=["a port", "a key", "no address", "no host"],
)
def test_what_is_no_password_stays(line: str) -> None:
    """Only user:password@ directly behind a scheme is one."""
    assert with_tail("It failed.", [line]) == f"It failed.\nLast output:\n{line}"
