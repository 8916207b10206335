"""Progress on the terminal: what, how far, how long. Standard error, so that output stays clean."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_EVERY = 10.0  # seconds between signs of life where the output is no terminal


def say(text: str) -> None:
    """Print one line."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str, *, number: int = 0, of: int = 0, log: Path | None = None) -> Iterator[None]:
    """Announce a step, tick while it lasts, and say how long it took."""
    label = f"[{number}/{of}] {what}" if of else what
    started = time.monotonic()
    ended = threading.Event()
    ticker = threading.Thread(target=_tick, args=(label, started, ended, log), daemon=True)
    ticker.start()
    try:
        yield
    except BaseException:
        _finish(ticker, ended)
        say(f"{label} ... failed after {time.monotonic() - started:.0f} s")
        raise
    _finish(ticker, ended)
    say(f"{label} ... {time.monotonic() - started:.1f} s")


def _finish(ticker: threading.Thread, ended: threading.Event) -> None:
    ended.set()
    ticker.join()
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _tick(label: str, started: float, ended: threading.Event, log: Path | None) -> None:
    terminal = sys.stderr.isatty()
    while not ended.wait(1.0 if terminal else _EVERY):
        text = f"{label} ... {time.monotonic() - started:.0f} s"
        last = _last_line(log)
        if terminal:
            print(f"\r\033[K{text}  {last[:60]}", end="", file=sys.stderr, flush=True)
        else:
            say(f"{text}  {last[:100]}" if last else text)


def _last_line(log: Path | None) -> str:
    if log is None:
        return ""
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - 400))
            lines = stream.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
