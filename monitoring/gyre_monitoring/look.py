"""One look: count, test, judge. From rows to evidence; the rules make a verdict of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from gyre_crds.base import seconds
from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.drift import DriftMonitorSpec
from gyre_monitoring import estimate, history, performance, quality, randomised, schema, segments, shifts
from gyre_monitoring.counting import bin_counts, split
from gyre_monitoring.evidence import Budget, Evidence, budget
from gyre_monitoring.history import Baseline, Past
from gyre_monitoring.labels import LABEL, Labelled
from gyre_monitoring.parts import Broken, Span
from gyre_monitoring.profile import OURS, Tables
from gyre_monitoring.shifts import Shift
from gyre_monitoring.stats.bins import Pair
from gyre_monitoring.stats.methods import FLOORS, psi
from gyre_monitoring.units import unit_change
from gyre_monitoring.values import numbers
from gyre_monitoring.window import WindowCounter, adapted, count

_OUTPUTS = (PayloadColumn.PREDICTION.value, PayloadColumn.SCORE.value)
_EXPLAINING = 8
_RECENT = 500


@dataclass(frozen=True)
class Inputs:
    """What a look is given."""

    spec: DriftMonitorSpec
    contract: Contract
    profile: Profile
    digest: str
    """Identity of the profile."""
    span: Span
    current: Tables
    """Starts a pass over the window's rows."""
    counted: Tables | None = None
    """The same with known texts as Arrow dictionaries, which cost less to read and to count."""
    broken: Broken = field(default_factory=Broken)
    labelled: Labelled | None = None
    reference: Tables | None = None
    """Starts a pass over the reference rows, for segments."""
    past: Sequence[Past] = ()
    version: str | None = None
    """The version that serves; where it is not told, the one of most rows."""
    consecutive: int = 0
    notes: Sequence[str] = ()


def observe(inputs: Inputs) -> Evidence:
    """Everything there is to see in the window, judged column by column but not yet as a whole."""
    spec, contract = inputs.spec, inputs.contract
    profile = adapted(inputs.profile, spec)
    known = {contract.key, contract.label.column, LABEL} | ({contract.time} if contract.time else set())
    window = count((inputs.counted or inputs.current)(), profile, spec, frozenset(known))
    inputs = replace(inputs, version=window.version(inputs.version))
    alphas = budget(spec.false_alarm_rate, labels=inputs.labelled is not None)
    units = {name: change for name, one in window.columns.items() if (change := unit_change(one))}
    family, outputs, notes = _tests(inputs, window)
    noise = shifts.noises([*family, *outputs])
    rate = spec.false_alarm_rate
    baseline = history.baseline(inputs.past, inputs.span.start, rate, noise, spec.match)
    judged, predicted = _judged(family, outputs, alphas, baseline)
    realized = _performance(inputs, judged, alphas)
    return Evidence(
        spec=spec,
        contract=contract,
        profile=profile,
        digest=inputs.digest,
        span=inputs.span,
        window=window,
        budget=alphas,
        broken=tuple(inputs.broken.parts),
        units=units,
        schema=schema.incidents(window, units),
        quality=quality.incidents(window, spec, inputs.past, inputs.broken.parts, alphas.quality),
        inputs=tuple(judged),
        prediction=tuple(predicted),
        performance=realized,
        estimated=estimate.estimate(profile, window.columns, contract.objective.metric, alphas.estimate),
        past=tuple(inputs.past),
        baseline=baseline,
        consecutive=inputs.consecutive,
        notes=(*inputs.notes, *notes, *_bias(inputs)),
    )


def _tests(inputs: Inputs, window: WindowCounter) -> tuple[list[Shift], list[Shift], list[str]]:
    tested = {name: shifts.measured(one) for name, one in window.columns.items() if not name.startswith(OURS)}
    family = [one for name, one in tested.items() if one and name not in _OUTPUTS]
    outputs = [one for name, one in tested.items() if one and name in _OUTPUTS]
    unsure = shifts.measured(window.uncertainty) if window.uncertainty else None
    outputs += [unsure] if unsure else []
    notes = [f"{name} is not in the payload" for name in _OUTPUTS if _absent(window, name)]
    notes += [note for name, one in window.columns.items() if not tested.get(name) and (note := shifts.too_few(one))]
    if not inputs.spec.segments:
        return family, outputs, notes
    if inputs.reference is None:
        return family, outputs, [*notes, "segments were not looked at: the reference rows are not at hand"]
    more, more_outputs, hints = segments.shifts(inputs.reference, inputs.current, inputs.spec, inputs.contract)
    return family + more, outputs + more_outputs, notes + hints


def _judged(
    family: list[Shift], outputs: list[Shift], alphas: Budget, baseline: Baseline | None,
) -> tuple[list[Shift], list[Shift]]:  # fmt: skip
    return shifts.judged(family, alphas.inputs, baseline), shifts.judged(outputs, alphas.prediction, baseline)


def _performance(inputs: Inputs, judged: Sequence[Shift], alphas: Budget) -> performance.Performance | None:
    if inputs.labelled is None:
        return None
    # The rows that a lot chose come first: whether enough of them are recent must not rest on the biased others.
    usable = randomised.only(inputs.labelled) if _depends(inputs) else inputs.labelled
    labelled = _cohort(inputs, usable, moved=any(one.drifted for one in judged))
    objective, level = inputs.contract.objective, alphas.performance
    found = _measure(inputs)(labelled, inputs.profile, objective, level)
    if found is None or not found.proven:
        return found
    profile = adapted(inputs.profile, inputs.spec)
    moved = _moved(inputs, labelled, judged)
    explained = performance.explanations(labelled, profile, objective.metric, moved, level)
    return replace(found, explained=explained, later=_later(inputs, labelled, level))


def _later(inputs: Inputs, labelled: Labelled, level: float) -> performance.Later | None:
    alarm = history.first_proven(inputs.past, inputs.span.start, inputs.version)
    if alarm is None:
        return None
    contract = inputs.contract
    maturity = timedelta(seconds=seconds(contract.label.maturity))
    return performance.later(
        labelled,
        inputs.profile,
        contract.objective,
        level,
        alarm=alarm,
        maturity=maturity,
        measured=_measure(inputs),
    )


def _cohort(inputs: Inputs, labelled: Labelled, *, moved: bool) -> Labelled:
    """The labelled rows that the loss is measured on.

    Rows of broken windows are left out. While inputs are elsewhere, the rows since they moved, if there
    are enough: older ones would dilute the loss. Once they are back, the rows of the time between are
    not held against the model. The choice looks at inputs only, so it costs no error of the test.
    """
    usable = labelled.without(history.broken_spans(inputs.past))
    if not moved:
        return usable.without(history.moved_spans(inputs.past))
    recent = usable.from_instant(history.run_start(inputs.past, inputs.span.start))
    return recent if recent.table.num_rows >= _RECENT else usable


def _moved(inputs: Inputs, labelled: Labelled, judged: Sequence[Shift]) -> list[str]:
    """Columns that drifted among the labelled rows or in the window: either may explain a loss."""
    counter = count([labelled.table], adapted(inputs.profile, inputs.spec), inputs.spec, frozenset({LABEL}))
    tests = [test for name, one in counter.columns.items() if name not in _OUTPUTS and (test := shifts.measured(one))]
    then = shifts.judged(tests, inputs.spec.false_alarm_rate, None)
    ranked = sorted((one for one in then if one.drifted), key=lambda one: -one.rank)
    now = [one.name for one in judged if one.drifted]
    return list(dict.fromkeys([one.name for one in ranked] + now))[:_EXPLAINING]


def _measure(inputs: Inputs) -> performance.Measured:
    return randomised.measure if _depends(inputs) else performance.measure


def _depends(inputs: Inputs) -> bool:
    return inputs.contract.label.observed == "DependsOnDecision"


def _absent(window: WindowCounter, name: str) -> bool:
    column = window.columns.get(name)
    return column is not None and column.rows > 0 and column.absent == column.rows


def _bias(inputs: Inputs) -> list[str]:
    """A sentence when the labelled rows are no fair sample of the cohort, by their scores."""
    labelled, score = inputs.labelled, inputs.profile.score
    if labelled is not None and _depends(inputs):
        told = randomised.why_not(randomised.only(labelled), inputs.contract.objective.metric)
        return [told] if told else []
    if labelled is None or labelled.eligible_scores is None or score is None or score.number is None:
        return []
    if PayloadColumn.SCORE not in labelled.table.column_names or labelled.table.num_rows < performance.LEAST_LABELS:
        return []
    edges = shifts.edges(score)
    if edges is None or not edges.size or labelled.table.num_rows == labelled.eligible:
        return []
    sides = (labelled.eligible_scores, numbers(labelled.table[PayloadColumn.SCORE]))
    measured = psi(Pair(*(bin_counts(split(side).finite, edges) for side in sides)), edges, FLOORS["PSI"])
    if measured.p_value > inputs.spec.false_alarm_rate or measured.effect < FLOORS["PSI"]:
        return []
    return [f"labelled rows differ from the others in score (PSI {measured.score:.3f}): the loss speaks of them only"]
