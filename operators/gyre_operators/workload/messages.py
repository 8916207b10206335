"""Reports on termination messages: one JSON object, or what the kubelet found at the log's end."""

import re
from typing import TypeVar

from pydantic import ValidationError

from gyre_crds.base import ApiModel
from gyre_crds.contracts.attempt import FailureReport
from gyre_operators.workload.views import Terminated

R = TypeVar("R", bound=ApiModel)
_LINE = 300
_PASSWORD = re.compile(r"([a-z][a-z0-9+.-]{0,30}://[^\s:/@]*):[^\s/@]+@", re.IGNORECASE)
"""In an address, as drivers of databases put it into their errors."""


def report(kind: type[R], ended: Terminated | None) -> R | None:
    """The report a container left, or None when it left none of that kind."""
    if ended is None or not ended.message.lstrip().startswith("{"):
        return None
    try:
        return kind.model_validate_json(ended.message, by_alias=True, by_name=False)
    except ValidationError:
        return None


def failure(ended: Terminated | None) -> FailureReport | None:
    """The failure report a container left."""
    return report(FailureReport, ended)


def last_lines(ended: Terminated | None, *, lines: int = 12) -> list[str]:
    """The last lines of the output that came with the end of a container."""
    said = failure(ended)
    if said is not None:
        return said.tail[-lines:]
    if ended is None or ended.message.lstrip().startswith("{"):
        return []
    return [line for line in ended.message.splitlines() if line.strip()][-lines:]


def sentence(text: str) -> str:
    """The text with a full stop at its end, so that another sentence may follow."""
    plain = text.strip()
    return plain if plain.endswith((".", "!", "?")) else f"{plain}."


_OUTPUT = "\nLast output:\n"


def on_one_line(text: str) -> str:
    """A sentence and the last line of the output below it, for lists that show one line: there the cause stands."""
    head, _, output = text.partition(_OUTPUT)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"{head.rstrip('.')}; its output ends with: {lines[-1][-_LINE:]}" if lines else head


def with_tail(sentence: str, tail: list[str], *, limit: int = 2000) -> str:
    """A sentence with the output's last lines below it, cut from the front to fit.

    Passwords in addresses are left out: a status and its Events are read by more people than a pod's log.
    """
    sentence = _without_passwords(sentence)
    if not tail:
        return sentence[:limit]
    text = _without_passwords("\n".join(tail))
    room = limit - len(sentence) - len(_OUTPUT)
    return f"{sentence}{_OUTPUT}{text[-room:]}" if room > 0 else sentence[:limit]


def _without_passwords(text: str) -> str:
    return _PASSWORD.sub(r"\1:***@", text)
