"""Which of the cuts that the detectors make are news: a change is told once, however long its values take to settle.

A change is a departure from a level that was steady. Until the column is steady again whatever comes belongs to it,
but for a move that is far larger than the ones since then, or a return. How long to wait, and what is far, is measured
in the column's own moves: no number of rows and no unit stands here. The numbers of usual moves were set on made
series of steps, slopes, turns and pulses.
"""

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gyre_monitoring.values import Floats

FAR = 3.0
"""Usual moves that a single one must be to be another change."""
BACK = 1.5
"""Usual moves that a column must have come back to be another change."""
APART = 0.7
"""Usual moves between the level that was told and the steady one which make that another; the levels are rough, each
to a fifth of the move that showed it."""
_MEMORY = 8
"""Moves that the usual one is the mean of, about."""
_TAIL = 0.1
"""Share of the values at either end that do not count as what they are: an outlier moves no level."""


class Moving(BaseModel):
    """A column that is not steady."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    told: float
    """Level that was told last."""
    furthest: float
    """Furthest level since then, in its direction."""
    upwards: bool
    last: float
    """Level after the last move."""
    usual: float
    """Mean of the moves since the column was steady."""
    moves: Annotated[int, Field(ge=1)]
    pace: Annotated[float, Field(gt=0)]
    """Rows that a move took to be seen, or that passed since the one before, in the mean."""
    quiet: Annotated[int, Field(ge=0)]
    """Rows since the last was seen."""


def started(before: float, after: float, rows: int) -> Moving:
    """A steady column has moved."""
    move = abs(after - before)
    return Moving(
        told=after, furthest=after, upwards=after > before, last=after, usual=move, moves=1, pace=rows, quiet=0
    )


def moved(moving: Moving, after: float, rows: int) -> tuple[Moving, bool]:
    """The column moved on; whether that is another change."""
    step = after - moving.last
    back = (moving.furthest - after) * (1 if moving.upwards else -1)
    news = back >= BACK * moving.usual or abs(step) >= FAR * moving.usual
    count = min(moving.moves + 1, _MEMORY)
    kept = {
        "last": after,
        "usual": moving.usual + (abs(step) - moving.usual) / count,
        "moves": count,
        "pace": moving.pace + (max(rows, moving.quiet) - moving.pace) / count,
        "quiet": 0,
    }
    if news:
        kept |= {"told": after, "furthest": after, "upwards": step > 0}
    elif back < 0:
        kept |= {"furthest": after}
    return moving.model_copy(update=kept), news


def waited(moving: Moving, rows: int) -> tuple[Moving, bool]:
    """Rows passed without a move; whether they are enough to call the column steady.

    One that moved often in a row is believed later: as many times as it moved, and once more.
    """
    quiet = moving.quiet + rows
    return moving.model_copy(update={"quiet": quiet}), quiet >= (moving.moves + 1) * moving.pace


def elsewhere(moving: Moving, level: float) -> bool:
    """Whether a level that is steady is another one than was told."""
    return abs(level - moving.told) >= APART * moving.usual


def level(values: Floats) -> float:
    """What the values lie around."""
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    return float(np.clip(values, low, high).mean())
