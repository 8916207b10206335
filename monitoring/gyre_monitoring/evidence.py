"""Everything one look observed, as one frozen value: what the rules read and the report prints."""

from collections.abc import Mapping
from dataclasses import dataclass

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.drift import DriftMonitorSpec, Level, Verdict
from gyre_monitoring.estimate import Estimated
from gyre_monitoring.history import Baseline, Past
from gyre_monitoring.parts import Span
from gyre_monitoring.performance import Performance
from gyre_monitoring.shifts import Shift
from gyre_monitoring.units import UnitChange
from gyre_monitoring.window import WindowCounter


@dataclass(frozen=True)
class Budget:
    """The declared false-alarm rate, divided among what can alarm."""

    performance: float
    inputs: float
    prediction: float
    estimate: float
    quality: float


def budget(rate: float, *, labels: bool) -> Budget:
    """Shares of the rate that add up to it.

    Where labels are there, most of it goes to the loss they can prove: it is the test that decides,
    and the one whose power needs it. Shifts have an effect floor besides, and lose little.
    """
    if labels:
        return Budget(0.8 * rate, 0.08 * rate, 0.04 * rate, 0.04 * rate, 0.04 * rate)
    return Budget(0.8 * rate, 0.4 * rate, 0.2 * rate, 0.2 * rate, 0.2 * rate)


@dataclass(frozen=True)
class Incident:
    """A finding about the data themselves, in one column or in the whole window."""

    column: str | None
    check: str
    """Which check: missing, absent, retyped, extra, unit, range, category, constant, placeholder, duplicates ..."""
    share: float
    """Share of rows, or of values, it touches."""
    words: str
    """What is broken, as the middle of a sentence that starts with the column."""
    heavy: bool = False
    """Whether the model's input is so damaged that someone should be woken."""


@dataclass(frozen=True)
class Evidence:
    """One look."""

    spec: DriftMonitorSpec
    contract: Contract
    profile: Profile
    digest: str
    span: Span
    window: WindowCounter
    budget: Budget
    broken: tuple[str, ...]
    """Parts that could not be read, each with a sentence."""
    units: Mapping[str, UnitChange]
    schema: tuple[Incident, ...]
    quality: tuple[Incident, ...]
    inputs: tuple[Shift, ...]
    """Every tested column, then every column of every segment."""
    prediction: tuple[Shift, ...]
    performance: Performance | None
    estimated: Estimated | None
    past: tuple[Past, ...]
    baseline: Baseline | None
    consecutive: int = 0
    notes: tuple[str, ...] = ()
    """What could not be looked at, and why."""

    @property
    def rows(self) -> int:
        """Rows of the window."""
        return self.window.rows

    @property
    def drifted(self) -> list[Shift]:
        """Inputs that drifted, the most important first."""
        return sorted((one for one in self.inputs if one.drifted), key=lambda one: -one.rank)


@dataclass(frozen=True)
class Finding:
    """A verdict with its level and sentence."""

    verdict: Verdict
    level: Level
    reason: str
