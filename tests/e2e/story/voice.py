"""What a person sees: one line an event, with the time since the start, wrapped to the terminal."""

import contextlib
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator

from rich.live import Live

from tests.e2e.story.board import Board

_INDENT = 10


class Voice:
    """Tells the story on the terminal; colours only where there is one."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._colour = sys.stdout.isatty()

    @contextlib.contextmanager
    def live(self, board: Board) -> Iterator[None]:
        """On a terminal the board stays below the lines while they scroll; elsewhere there are only lines."""
        if not self._colour:
            yield
            return
        # What is written to stdout meanwhile appears above the table.
        with Live(board, refresh_per_second=2, transient=True):
            yield

    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def chapter(self, title: str) -> None:
        """A new chapter."""
        self._write("")
        self._write(self._paint(title, "1;36"))

    def say(self, text: str) -> None:
        """Something that the story does."""
        self._line(text, "0")

    def decided(self, who: str, text: str) -> None:
        """Something that Gyre decided, in its own words."""
        self._line(f"{who}: {text}", "32")

    def trouble(self, text: str) -> None:
        """Something that did not happen."""
        self._line(text, "31")

    def _line(self, text: str, colour: str) -> None:
        width = max(60, shutil.get_terminal_size((110, 24)).columns)
        stamp = f"{self.seconds():7.1f}s  "
        sentence, *table = text.split("\n")
        lines = textwrap.wrap(sentence, width - _INDENT, break_long_words=False) or [""]
        self._write(stamp + self._paint(lines[0], colour))
        for line in lines[1:]:
            self._write(" " * _INDENT + self._paint(line, colour))
        # What kubectl printed below a sentence is a table: wrapped, nobody could read it.
        for line in table:
            self._write(line)

    def _paint(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colour else text

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
