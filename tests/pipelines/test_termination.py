"""The termination message: at most 4096 bytes, and still the report."""

from hypothesis import given
from hypothesis import strategies as st

from gyre_crds.contracts.attempt import MESSAGE_LIMIT, FailureReport
from gyre_pipelines.termination import encode


@given(st.text(max_size=6000), st.lists(st.text(max_size=400), max_size=40))
def test_any_report_fits(message: str, tail: list[str]) -> None:
    """Whatever the sentence and the lines, the message is JSON of the same report within the limit."""
    text = encode(FailureReport(reason="UserError", message=message, tail=tail))
    assert len(text.encode()) <= MESSAGE_LIMIT
    again = FailureReport.model_validate_json(text)
    assert message.startswith(again.message.removesuffix("..."))
    assert tail[len(tail) - len(again.tail) :] == again.tail
