"""One line per transition: words on a terminal, JSON for everybody else."""

import logging
import sys
from typing import TextIO

import orjson

from gyre_operators.engine.clock import Clock, rfc3339
from gyre_operators.engine.wall_clock import utc_now

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and what was given as `extra`."""

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__()
        self._clock = clock

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": rfc3339(self._clock()),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TerminalFormatter(logging.Formatter):
    """Time, level, message, then `name=value` for what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        pairs = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        stamp = self.formatTime(record, "%H:%M:%S")
        line = f"{stamp} {record.levelname.lower():7} {record.getMessage()}"
        line = f"{line}  {pairs}" if pairs else line
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


def configure(stream: TextIO = sys.stderr, level: int = logging.INFO) -> None:
    """Send all logging to `stream` in the form it can use."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TerminalFormatter() if stream.isatty() else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
