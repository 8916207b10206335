"""The two tasks of this image, as Jobs: an order from the environment, a report on the termination message."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from gyre_crds.base import ApiModel
from gyre_crds.contracts.attempt import EXIT_INFRA, EXIT_USER, MESSAGE_LIMIT, FailureReport
from gyre_crds.contracts.profile import Profile
from gyre_crds.contracts.store import feedback_prefix, payload_prefix
from gyre_crds.contracts.task import ENV, LookOrder, LookReport, ProfileOrder, ProfileReport
from gyre_crds.reasons import Common, Drift
from gyre_crds.v1alpha1.drift import ReportArtifacts
from gyre_monitoring import evidently_report, history, imports, labels, parts, profile, reference, report, rules
from gyre_monitoring.errors import InputError, StoreError
from gyre_monitoring.instants import moment
from gyre_monitoring.look import Inputs, observe
from gyre_monitoring.page import page
from gyre_monitoring.parts import Parts, Span
from gyre_monitoring.store import Store
from gyre_monitoring.window import coded

TERMINATION_LOG = "GYRE_TERMINATION_LOG"


def run(command: str, text: str) -> int:
    """Do what GYRE_TASK says; the exit code of the container."""
    try:
        message, code = _TASKS[command](text, Store()), 0
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message, code = _failure(Common.INVALID_SPEC, f"{ENV}: {where}: {first['msg']}"), EXIT_USER
    except InputError as error:
        message, code = _failure(error.reason, str(error)), EXIT_USER
    except StoreError as error:
        message, code = _failure(Common.STORE_UNREACHABLE, str(error)), EXIT_INFRA
    except MemoryError:
        cure = "the look ran out of memory: raise spec.resources.limits.memory of the DriftMonitor"
        message, code = _failure(Drift.LOOK_FAILED, cure), EXIT_USER
    _say(message)
    return code


def make_profile(text: str, store: Store) -> ApiModel:
    """ProfileOrder to ProfileReport: reference rows in, profile at `out`."""
    order = ProfileOrder.model_validate_json(text)
    content = store.read(order.reference)
    made = profile.build(reference.rows(content, order.reference), order.contract)
    made = made.model_copy(update={"source": order.reference, "source_digest": report.digest(content)})
    store.write(order.out, profile.encoded(made))
    return ProfileReport(uri=order.out, digest=profile.digest(made), rows=made.rows, columns=len(made.columns))


def look(text: str, store: Store) -> ApiModel:
    """LookOrder to LookReport: the window's parts in, report.json and report.html at `out`."""
    order = LookOrder.model_validate_json(text)
    inputs = gathered(order, store)
    evidence = observe(inputs)
    made = report.report(evidence, rules.verdict(evidence), order.monitor, version=order.version)
    out = order.out.rstrip("/")
    page_uri, evidently_uri, engine = f"{out}/report.html", None, "native"
    if order.spec.engine != "Native":
        content, note = evidently_report.html(inputs.current, inputs.reference, inputs.profile)
        engine = "native+evidently" if content else "native"
        if content:
            evidently_uri = f"{out}/evidently.html"
            store.write(evidently_uri, content)
        made = made if not note else made.model_copy(update={"power": made.power | {"evidently": note}})
    artifacts = ReportArtifacts(json_=f"{out}/report.json", html=page_uri, evidently=evidently_uri)
    made = report.with_artifacts(made, artifacts, engine)
    made = made.model_copy(update={"imports": imports.found(order, store)})
    store.write(page_uri, page(made, evidence.past).encode())
    encoded = report.encoded(made)
    store.write(f"{out}/report.json", encoded)
    return LookReport(uri=f"{out}/report.json", digest=report.digest(encoded))


def gathered(order: LookOrder, store: Store) -> Inputs:
    """Everything a look needs, from the store."""
    span = Span(moment(order.window_start), moment(order.window_end))
    spec, contract = order.spec, order.contract
    content = store.read(order.profile)
    known, rows = reference.from_bytes(content, order.profile, spec, contract)
    if rows is None and (spec.segments or spec.engine != "Native"):
        rows = reference.source_rows(store, known)
    payload = store.uri(payload_prefix(order.service))
    window = parts.stored(store, payload, span)
    digest = profile.digest(known)
    known = without(known, order.redacted)
    return Inputs(
        spec=spec,
        contract=contract,
        profile=known,
        digest=digest,
        span=span,
        current=lambda: (parts.within(table, span, order.revisions) for _, table in window.tables()),
        counted=lambda: (parts.within(table, span, order.revisions) for _, table in window.tables(coded=coded(known))),
        broken=window.broken,
        labelled=_labelled(order, store, span, [one.name for one in known.columns], window),
        reference=rows,
        past=history.load(store, order.history.rstrip("/"), span.start, digest, spec.match),
        version=order.version,
        consecutive=order.consecutive,
        notes=[f"{name} is redacted and was not looked at" for name in order.redacted],
    )


def without(known: Profile, names: list[str]) -> Profile:
    """The profile without columns that the payload log leaves out."""
    kept = [one for one in known.columns if one.name not in names]
    return known if len(kept) == len(known.columns) else known.model_copy(update={"columns": kept})


def _labelled(
    order: LookOrder, store: Store, span: Span, features: list[str], window: Parts,
) -> labels.Labelled | None:  # fmt: skip
    cohort = labels.cohort(order.spec, order.contract, span.end)
    feedback = parts.stored(store, store.uri(feedback_prefix(order.service)), Span(cohort.start, span.end))
    if not feedback.openers or cohort.start >= cohort.end:
        return None
    payload = parts.stored(store, store.uri(payload_prefix(order.service)), cohort)
    found = labels.from_store(payload, feedback, cohort, end=span.end, revisions=order.revisions, features=features)
    window.broken.parts.extend(note for note in feedback.broken.parts if note not in window.broken.parts)
    return found


def _failure(reason: str, message: str) -> FailureReport:
    return FailureReport(reason=str(reason), message=message[: MESSAGE_LIMIT // 2])


def _say(message: ApiModel) -> None:
    text = json.dumps(message.dump(), separators=(",", ":"))
    sys.stdout.write(text + "\n")
    path = Path(os.environ.get(TERMINATION_LOG, "/dev/termination-log"))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:  # outside of a pod; what was asked for is done and on standard output
        sys.stderr.write(f"gyre-monitoring: {path} cannot be written ({error.strerror}), set {TERMINATION_LOG}\n")


_TASKS: dict[str, Callable[[str, Store], ApiModel]] = {"profile": make_profile, "look": look}
