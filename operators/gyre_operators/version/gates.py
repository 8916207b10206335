"""Gates: what each says, when it is asked, and when it is asked again."""

from collections.abc import Callable
from datetime import datetime, timedelta

from gyre_crds.contracts.attempt import FailureReport
from gyre_crds.contracts.task import GateReport
from gyre_crds.reasons import Version
from gyre_crds.v1alpha1.common import Objective
from gyre_crds.v1alpha1.model import Gate, Model
from gyre_crds.v1alpha1.version import GateStatus, Signature
from gyre_operators.engine.clock import rfc3339
from gyre_operators.engine.differ import digest
from gyre_operators.model.observed import age
from gyre_operators.model.promotion import COMPARED
from gyre_operators.version.manifests import gate_job, job_name, number_of
from gyre_operators.version.part import SURROUNDINGS, Part, wait_for_rerun
from gyre_operators.version.seen import Observed, tree_digest
from gyre_operators.workload.tasks import outcome

_AFTER_FAULT = timedelta(minutes=1)
_AFTER_UNKNOWN = timedelta(minutes=10)
"""Rows that decide may have come meanwhile."""

Rule = Callable[[Observed, Model, Gate, GateStatus, datetime], Part[GateStatus]]


def gates(seen: Observed, now: datetime) -> Part[list[GateStatus]]:
    """Every gate of the Model, in its order; those of a version that was champion stay as they were."""
    old = {each.name: each for each in seen.status.gates}
    if seen.model is None or seen.was_champion:
        return Part(seen.status.gates)
    parts = []
    for gate in seen.model.spec.gates:
        if gate.type == "Approval":
            continue
        asked = definition(gate, seen.model.spec.contract.objective)
        parts.append(_part(seen, seen.model, gate, _current(seen, gate, old.get(gate.name), asked), now))
    rest = [part.value for part in parts]
    values = [
        next((each for each in rest if each.name == gate.name), None)
        or _approval(
            seen, gate, old.get(gate.name), others_passed=all(each.state == "Passed" for each in rest), now=now
        )
        for gate in seen.model.spec.gates
    ]
    waits = [part.requeue for part in parts if part.requeue is not None]
    return Part(values, create=tuple(job for part in parts for job in part.create), requeue=min(waits, default=None))


def definition(gate: Gate, objective: Objective) -> str:
    """Digest of what the Model asks; a comparison asks for the objective's gain too.

    Defaults are left out, or a later Gyre with one field more would ask every gate again.
    """
    parts = (gate, objective) if gate.type == "Champion" else (gate,)
    return digest([part.model_dump(mode="json", by_alias=True, exclude_defaults=True) for part in parts])


def _current(seen: Observed, gate: Gate, old: GateStatus | None, asked: str) -> GateStatus:
    """The gate's record, or a fresh one when there is none that counts."""
    fresh = old is None or old.type != gate.type or _is_corrected(seen, old, asked)
    if old is None or fresh or (not seen.blind and _champion_moved(seen, gate, old)):
        return GateStatus(
            name=gate.name, type=gate.type, state="Pending", champion=_against(seen, gate), definition=asked
        )
    return old.model_copy(update={"definition": old.definition or asked})


def _is_corrected(seen: Observed, old: GateStatus, asked: str) -> bool:
    """The Model asks something else by now. What is older than the champion is not its heir, and is left in peace."""
    return old.definition not in (None, asked) and not _is_older(seen)


def _against(seen: Observed, gate: Gate) -> str | None:
    champion = seen.other_champion
    return tree_digest(champion) if champion is not None and gate.type in COMPARED else None


def _champion_moved(seen: Observed, gate: Gate, old: GateStatus) -> bool:
    """A comparison counts against the champion it was made with; what is older than the champion is not its heir."""
    if old.champion == _against(seen, gate):
        return False
    return old.state != "Passed" or not _is_older(seen)


def _is_older(seen: Observed) -> bool:
    return seen.champion is not None and age(seen.version) < age(seen.champion)


def _part(seen: Observed, model: Model, gate: Gate, current: GateStatus, now: datetime) -> Part[GateStatus]:
    if seen.blind and gate.type in COMPARED:
        return Part(_put_off(seen, current, now))
    return _RULES[gate.type](seen, model, gate, current, now)


def _put_off(seen: Observed, current: GateStatus, now: datetime) -> GateStatus:
    """What was decided stays; what is not waits for the champion, whose mending shows in the Model and wakes us."""
    if current.state in ("Passed", "Failed", "Running"):
        return current
    return _settled(current, "Unknown", Version.GATE_UNKNOWN, seen.blind, now)


def _by_job(seen: Observed, model: Model, gate: Gate, current: GateStatus, now: datetime) -> Part[GateStatus]:
    if current.state in ("Passed", "Failed"):
        return Part(current)
    if current.state == "Unknown":
        return _again(seen, model, gate, current, now)
    if current.job is None:
        return _run(seen, model, gate, current, 1)
    job = seen.jobs.get(current.job)
    if job is None:
        return Part(current, create=(gate_job(seen, current.job, gate, model),))
    report = outcome(GateReport, job, seen.pods)
    if report is None:
        return Part(current)
    return Part(_decided(current, report, now).model_copy(update={"uid": job.metadata.uid}))


def _run(seen: Observed, model: Model, gate: Gate, current: GateStatus, number: int) -> Part[GateStatus]:
    # Another question is another Job, or the answer to the old one would be read again.
    name = job_name(seen.name, "gate", gate.name, current.champion or "", current.definition or "", number=number)
    value = GateStatus(
        name=gate.name,
        type=gate.type,
        state="Running",
        reason=Version.GATES_RUNNING,
        champion=current.champion,
        definition=current.definition,
        job=name,
    )
    return Part(value, create=() if name in seen.jobs else (gate_job(seen, name, gate, model),))


def _again(seen: Observed, model: Model, gate: Gate, current: GateStatus, now: datetime) -> Part[GateStatus]:
    number = number_of(current.job)
    first = _AFTER_FAULT if current.reason in SURROUNDINGS else _AFTER_UNKNOWN
    wait = wait_for_rerun(number, current.at, now, first=first)
    if wait > timedelta():
        return Part(current, requeue=wait)
    return _run(seen, model, gate, current, number + 1)


def _decided(current: GateStatus, report: GateReport | FailureReport, now: datetime) -> GateStatus:
    if isinstance(report, FailureReport):
        lost = report.reason in SURROUNDINGS
        update: dict[str, object] = {
            "state": "Unknown" if lost else "Failed",
            "reason": report.reason,
            "message": report.message[:1024],
        }
    else:
        update = {
            "state": report.state,
            "reason": report.reason,
            "message": report.message[:1024],
            "value": report.value,
            "bound": report.bound,
            "gain": report.numbers.get("gain"),
            "gain_lower": report.numbers.get("lower"),
            "gain_upper": report.numbers.get("upper"),
        }
    return current.model_copy(update={**update, "at": rfc3339(now)})


def _champion(seen: Observed, model: Model, gate: Gate, current: GateStatus, now: datetime) -> Part[GateStatus]:
    if seen.other_champion is not None:
        return _by_job(seen, model, gate, current, now)
    return Part(_settled(current, "Passed", Version.NO_CHAMPION, "There is no champion to compare with yet.", now))


def _schema(seen: Observed, _model: Model, _gate: Gate, current: GateStatus, now: datetime) -> Part[GateStatus]:
    champion = seen.other_champion
    if champion is None:
        return Part(_settled(current, "Passed", Version.NO_CHAMPION, "There is no champion to compare with yet.", now))
    theirs = champion.spec.signature or (champion.status.signature if champion.status else None)
    if theirs is None or seen.signature is None:
        who = seen.name if seen.signature is None else champion.metadata.name
        message = f"{who} has no signature, so nobody knows what it takes and gives."
        return Part(_settled(current, "Unknown", Version.GATE_UNKNOWN, message, now))
    difference = schema_difference(seen.signature, theirs)
    if difference is None:
        message = f"Inputs and outputs are those of {champion.metadata.name}."
        return Part(_settled(current, "Passed", Version.PASSED, message, now))
    message = (
        f"{difference}. Callers of {champion.metadata.name} would break: serve it under an InferenceService of its own."
    )
    return Part(_settled(current, "Failed", Version.SCHEMA_INCOMPATIBLE, message, now))


def schema_difference(mine: Signature, theirs: Signature) -> str | None:
    """The first difference in what callers see, as a clause; None when there is none."""
    for what, ours, wanted in (("input", mine.inputs, theirs.inputs), ("output", mine.outputs, theirs.outputs)):
        have = {tensor.name: tensor for tensor in ours}
        for tensor in wanted:
            found = have.pop(tensor.name, None)
            if found is None:
                return f"The champion's {what} {tensor.name!r} is missing"
            if found.datatype != tensor.datatype:
                return f"{what.capitalize()} {tensor.name!r} is {found.datatype}, the champion's is {tensor.datatype}"
            if found.shape[1:] != tensor.shape[1:]:
                return f"{what.capitalize()} {tensor.name!r} has shape {found.shape}, the champion's has {tensor.shape}"
            if found.columns != tensor.columns:
                return f"{what.capitalize()} {tensor.name!r} has other columns or another order than the champion's"
        if have and what == "input":
            return f"Input {min(have)!r} is new, and no caller sends it"
    return None


def _approval(seen: Observed, gate: Gate, old: GateStatus | None, *, others_passed: bool, now: datetime) -> GateStatus:
    current = (
        old
        if old is not None and old.type == gate.type
        else GateStatus(name=gate.name, type=gate.type, state="Pending")
    )
    if seen.version.spec.approvals:
        yes = seen.version.spec.approvals[-1]
        return _settled(current, "Passed", Version.PASSED, f"{yes.user} approved at {yes.at}.", now)
    if not others_passed:
        return GateStatus(name=gate.name, type=gate.type, state="Pending")
    message = f"Append an entry to spec.approvals of ModelVersion {seen.name}."
    return GateStatus(
        name=gate.name, type=gate.type, state="Pending", reason=Version.WAITING_FOR_APPROVAL, message=message
    )


def _settled(current: GateStatus, state: str, reason: str, message: str, now: datetime) -> GateStatus:
    """A decision without a Job; its time is that of its last change."""
    same = (current.state, current.reason, current.message) == (state, reason, message)
    at = current.at if same else rfc3339(now)
    return current.model_copy(update={"state": state, "reason": reason, "message": message, "at": at})


_RULES: dict[str, Rule] = {
    "Metric": _by_job,
    "GoldenRows": _by_job,
    "Champion": _champion,
    "SchemaCompatible": _schema,
}
