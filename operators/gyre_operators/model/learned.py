"""What retrainings won back of the losses that they were decided for. Pure.

The gain is the champion gate's: new version against champion, paired, on rows that neither trained on. A
comparison of before and after would credit the training with whatever else changed meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from gyre_crds.v1alpha1.model import DecisionStatus, Retraining
from gyre_crds.v1alpha1.version import GateStatus, ModelVersion
from gyre_operators.model.observed import Observed

PRIOR = 0.5
"""The expected share while nothing was learned."""
LEAST, MOST = 0.1, 1.0
"""Below it nothing would ever be tried again, and so nothing more be learned."""
REMEMBERED = 20
_PRIOR_SPREAD = 0.25
"""Standard deviation of the prior: it counts as much as two exact retrainings."""
_SPREAD = 0.35
"""Standard deviation from one retraining to another."""
_BOUND = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True, slots=True)
class Expected:
    """Share of a proven loss that a retraining is expected to win back."""

    share: float = PRIOR
    retrainings: int = 0
    """How many it was learned from."""


def expected(past: Sequence[Retraining]) -> Expected:
    """The prior, moved by past retrainings: the more of them, and the surer each is, the further."""
    weight, total = _PRIOR_SPREAD**-2, PRIOR * _PRIOR_SPREAD**-2
    usable = [one for one in past if one.lost > 0]
    for one in usable:
        # A version that is worse is refused and takes nothing away; none wins back more than was lost.
        share = min(max(one.gain / one.lost, 0.0), MOST)
        error_of_gain = (one.gain_upper - one.gain_lower) / (2 * _BOUND)
        error_of_loss = (one.lost - one.lost_lower) / _BOUND
        noise = (error_of_gain**2 + (share * error_of_loss) ** 2) / one.lost**2
        precision = 1 / (_SPREAD**2 + noise)
        weight, total = weight + precision, total + precision * share
    return Expected(min(max(total / weight, LEAST), MOST), len(usable))


def retrainings(seen: Observed) -> list[Retraining]:
    """Retrainings on a proven loss with what they won, oldest first; what was found once is kept."""
    found = {one.version: one for one in seen.status.retrainings}
    digests = {version.metadata.name: _digest(version) for version in seen.versions}
    for version in seen.versions:
        decision = _decision(seen.status.decisions, version)
        gate = _comparison(version, digests)
        made = _retraining(version, decision, gate) if decision and gate else None
        if made is not None:
            found[version.metadata.name] = made
    return sorted(found.values(), key=lambda one: (one.at, one.version))[-REMEMBERED:]


def _decision(decisions: Iterable[DecisionStatus], version: ModelVersion) -> DecisionStatus | None:
    job = version.spec.lineage.job
    return next((d for d in decisions if job is not None and d.job == job and "gap" in d.arithmetic), None)


def _comparison(version: ModelVersion, digests: Mapping[str, str | None]) -> GateStatus | None:
    """The gate that compared it with the very version whose loss was proven, refused or not."""
    parent = digests.get(version.spec.lineage.parent or "")
    gates = version.status.gates if version.status is not None else []
    return next((gate for gate in gates if gate.type == "Champion" and parent and gate.champion == parent), None)


def _retraining(version: ModelVersion, decision: DecisionStatus, gate: GateStatus) -> Retraining | None:
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
        gain=round(gate.gain * unit, 4),
        gain_lower=round(gate.gain_lower * unit, 4),
        gain_upper=round(gate.gain_upper * unit, 4),
    )


def _digest(version: ModelVersion) -> str | None:
    return version.spec.digest or (version.status.digest if version.status is not None else None)
