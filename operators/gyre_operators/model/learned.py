"""What retrainings won back of the losses that they were decided for. Pure.

The gain is the champion gate's: new version against champion, paired, on rows that neither trained on. A
comparison of before and after would credit the training with whatever else changed meanwhile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from gyre_crds.v1alpha1.model import DecisionStatus, Retraining
from gyre_crds.v1alpha1.version import GateStatus, ModelVersion
from gyre_operators.engine.clock import parse_time
from gyre_operators.model.observed import Observed

PRIOR = 0.5
"""The expected share while nothing was learned."""
LEAST, MOST = 0.1, 1.0
"""Below it nothing would ever be tried again, and so nothing more be learned."""
REMEMBERED = 20
_LEAST_LOSS, _MOST_POINTS = 1e-4, 1e6
"""Points are kept to four digits, and no metric has so many: other numbers are of no measurement, and teach nothing."""
_DAY = 86_400.0
_SPREAD = 0.35
"""Standard deviation from one retraining to another, and of the prior, which so counts as one exact retraining."""
_FORGOTTEN = 0.7
"""What a retraining still counts for when the next one was measured: a world that changed is soon known."""
_BOUND = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True, slots=True)
class Expected:
    """Share of a proven loss that a retraining is expected to win back."""

    share: float = PRIOR
    retrainings: int = 0
    """How many it was learned from."""
    per_day: float = 0.0
    """Points that a retraining won for each day since the training before it, or is assumed to."""
    aged: int = 0
    """Retrainings that this was learned from."""
    intervals: tuple[float, ...] = ()
    """Days from each measured retraining to the next, oldest first."""

    def lasting(self, horizon: float) -> float:
        """Share of a horizon, in days, that what is won is expected to last: until the next retraining, as it was."""
        lives = [horizon, *(min(days, horizon) for days in self.intervals)]
        return sum(lives) / (len(lives) * horizon)


def expected(past: Sequence[Retraining], assumed_decay: float = 0.0) -> Expected:
    """What past retrainings, oldest first, teach of the next; the newest count most.

    `assumed_decay` is what is taken for the points won per day of age while nothing was measured.
    """
    past = [one for one in past if max(abs(one.gain), abs(one.gain_lower), abs(one.gain_upper)) <= _MOST_POINTS]
    aged = [one for one in past if one.age_days is not None]
    share, usable = _share(past)
    return Expected(
        share, usable, _per_day(aged, assumed_decay), len(aged), tuple(one.age_days or 0.0 for one in aged[1:])
    )


def _per_day(aged: Sequence[Retraining], assumed: float) -> float:
    """Points won for each day of age: the mean over retrainings and one before them all that won what is assumed.

    Gains below nothing count as they are: chance must not look like a gain. What won nothing within few days
    says as much as what won much after many: that the change is over.
    """
    fades = [_FORGOTTEN ** (len(aged) - 1 - index) for index in range(len(aged))]
    rates = [one.gain / max(one.age_days or 0.0, 1.0) for one in aged]
    return (assumed + sum(fade * rate for fade, rate in zip(fades, rates, strict=True))) / (1.0 + sum(fades))


def _share(past: Sequence[Retraining]) -> tuple[float, int]:
    """The prior, moved by past retrainings: the more of them, and the surer each is, the further."""
    weight, total = _SPREAD**-2, PRIOR * _SPREAD**-2
    usable = [one for one in past if _LEAST_LOSS <= one.lost <= _MOST_POINTS and abs(one.lost_lower) <= _MOST_POINTS]
    for index, one in enumerate(usable):
        # A version that is worse is refused and takes nothing away; none wins back more than was lost.
        share = min(max(one.gain / one.lost, 0.0), MOST)
        error_of_gain = (one.gain_upper - one.gain_lower) / (2 * _BOUND)
        error_of_loss = (one.lost - one.lost_lower) / _BOUND
        noise = (error_of_gain**2 + (share * error_of_loss) ** 2) / one.lost**2
        precision = _FORGOTTEN ** (len(usable) - 1 - index) / (_SPREAD**2 + noise)
        weight, total = weight + precision, total + precision * share
    return min(max(total / weight, LEAST), MOST), len(usable)


def retrainings(seen: Observed) -> list[Retraining]:
    """Retrainings on a proven loss with what they won, oldest first; what was found once is kept."""
    found = {one.version: one for one in seen.status.retrainings}
    versions = {version.metadata.name: version for version in seen.versions}
    for version in seen.versions:
        decision, parent = _decision(seen.status.decisions, version), versions.get(version.spec.lineage.parent or "")
        gate = _comparison(version, parent) if parent is not None else None
        made = _retraining(version, decision, gate, parent) if decision and gate and parent else None
        if made is not None:
            found[version.metadata.name] = made
    return sorted(found.values(), key=lambda one: (one.at, one.version))[-REMEMBERED:]


def _decision(decisions: Iterable[DecisionStatus], version: ModelVersion) -> DecisionStatus | None:
    job = version.spec.lineage.job
    return next((d for d in decisions if job is not None and d.job == job and "gap" in d.arithmetic), None)


def _comparison(version: ModelVersion, parent: ModelVersion) -> GateStatus | None:
    """The gate that compared it with the very version whose loss was proven, refused or not."""
    digest = _digest(parent)
    gates = version.status.gates if version.status is not None else []
    return next((gate for gate in gates if gate.type == "Champion" and digest and gate.champion == digest), None)


def _age(decision: DecisionStatus, parent: ModelVersion) -> float | None:
    """Days since the champion was trained: it is what the gain was won over, whatever was tried and refused between."""
    days, trained = decision.arithmetic.get("ageDays"), parent.spec.lineage.trained_at
    if days is None or trained is None:
        return days
    return max(days, round((parse_time(decision.at) - parse_time(trained)).total_seconds() / _DAY, 4))


def _retraining(
    version: ModelVersion, decision: DecisionStatus, gate: GateStatus, parent: ModelVersion
) -> Retraining | None:
    if gate.gain is None or gate.gain_lower is None or gate.gain_upper is None:
        return None
    unit = decision.arithmetic.get("pointsPerUnit", 0.0)
    if unit <= 0:
        return None
    return Retraining(
        version=version.metadata.name,
        at=decision.at,
        lost=decision.arithmetic["gap"],
        lost_lower=decision.arithmetic.get("gapLower", 0.0),
        age_days=_age(decision, parent),
        gain=round(gate.gain * unit, 4),
        gain_lower=round(gate.gain_lower * unit, 4),
        gain_upper=round(gate.gain_upper * unit, 4),
    )


def _digest(version: ModelVersion) -> str | None:
    return version.spec.digest or (version.status.digest if version.status is not None else None)
