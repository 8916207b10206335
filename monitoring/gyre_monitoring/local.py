"""Profiles and looks on a laptop: files in, files out, no store."""

import argparse
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from gyre_crds.contracts.payload import FeedbackColumn, PayloadColumn
from gyre_crds.contracts.task import Report
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.drift import DriftMonitorSpec, ReportArtifacts
from gyre_monitoring import evidently_report, history, labels, parts, reference, report, rules, settings
from gyre_monitoring import profile as profiles
from gyre_monitoring.errors import InputError
from gyre_monitoring.instants import moment
from gyre_monitoring.look import Inputs, observe
from gyre_monitoring.page import page
from gyre_monitoring.parts import Parts, Span
from gyre_monitoring.values import numbers
from gyre_monitoring.window import coded


def profile(data: list[Path], config: Path | None, out: Path) -> None:
    """Write the profile of reference rows."""
    spec, contract = settings.read(config)
    files = parts.local(data)
    codes = frozenset(one.name for one in spec.features if one.categorical)
    made = profiles.build(lambda: (table for _, table in files.tables()), contract, categorical=codes)
    if files.broken.parts:
        raise InputError(f"reference part cannot be read: {files.broken.parts[0]}")
    out.write_bytes(profiles.encoded(made))


def look(options: argparse.Namespace) -> None:
    """Look at local files and write the report."""
    spec, contract = settings.read(options.config)
    if options.engine:
        spec = spec.model_copy(update={"engine": options.engine.capitalize()})
    inputs = gathered(options, spec, contract)
    evidence = observe(inputs)
    made = report.report(evidence, rules.verdict(evidence), options.monitor)
    artifacts, engine = ReportArtifacts(json_=options.out.absolute().as_uri()), "native"
    if spec.engine != "Native":
        content, note = evidently_report.html(inputs.current, inputs.reference, inputs.profile)
        if content:
            beside = options.out.with_name("evidently.html")
            beside.write_bytes(content)
            artifacts = artifacts.model_copy(update={"evidently": beside.absolute().as_uri()})
            engine = "native+evidently"
        made = made if not note else made.model_copy(update={"power": made.power | {"evidently": note}})
    if options.html:
        artifacts = artifacts.model_copy(update={"html": options.html.absolute().as_uri()})
    made = report.with_artifacts(made, artifacts, engine)
    options.out.write_bytes(report.encoded(made))
    if options.html:
        options.html.write_text(page(made, evidence.past), encoding="utf-8")


def gathered(options: argparse.Namespace, spec: DriftMonitorSpec, contract: Contract) -> Inputs:
    """Everything a look needs, from files."""
    known, rows = reference.from_bytes(file_content(options.profile), str(options.profile), spec, contract)
    current = parts.local(options.current)
    span = _span(options, current, contract)
    digest = profiles.digest(known)
    past = history.chosen(_reports(options.history), span.start, digest) if options.history else []

    def window() -> "list[pa.Table]":
        return [table for _, table in current.tables()]

    return Inputs(
        spec=spec,
        contract=contract,
        profile=known,
        digest=digest,
        span=span,
        current=lambda: (table for _, table in current.tables()),
        counted=lambda: (table for _, table in current.tables(coded=coded(known))),
        broken=current.broken,
        labelled=_labelled(options.labels, window(), contract, span.end) if options.labels else None,
        reference=rows,
        past=past,
        consecutive=_consecutive([one.verdict for one in past]),
    )


def _labelled(path: Path, current: list[pa.Table], contract: Contract, end: datetime) -> labels.Labelled:
    files = parts.local([path])
    tables = [table for _, table in files.tables()]
    if not tables:
        raise InputError(f"{path} holds no readable labels: {', '.join(files.broken.parts) or 'no row'}")
    table = pa.concat_tables(tables, promote_options="permissive")
    if {FeedbackColumn.FIRST, FeedbackColumn.TIME, FeedbackColumn.REQUEST_ID} <= set(table.column_names):
        return labels.joined(current, labels.truths(files, end))
    return labels.from_table(current, table, contract)


def _span(options: argparse.Namespace, current: Parts, contract: Contract) -> Span:
    """As given, else from the rows' own times, else the last hour."""
    if options.start and options.end:
        return Span(moment(options.start), moment(options.end))
    column = PayloadColumn.TIME.value if contract.time is None else contract.time
    seen = [numbers(table[column]) for _, table in current.tables([column]) if column in table.column_names]
    times = [float(one) for part in seen for one in (part.min(initial=float("inf")), part.max(initial=-float("inf")))]
    finite = [one for one in times if abs(one) < 1e11]  # noqa: PLR2004  Unix seconds of this millennium and the next
    if not finite:
        now = datetime.now(UTC).replace(microsecond=0)
        return Span(now - timedelta(hours=1), now)
    first, last = (datetime.fromtimestamp(one, UTC) for one in (min(finite), max(finite)))
    return Span(first, last + timedelta(seconds=1))


def _reports(folder: Path) -> list[Report]:
    if not folder.is_dir():
        raise InputError(f"{folder} is no directory of reports")
    found = []
    for path in sorted(folder.rglob("*.json")):
        try:
            found.append(Report.model_validate(json.loads(path.read_bytes())))
        except (ValidationError, ValueError):
            continue
    return found


def _consecutive(verdicts: list[str]) -> int:
    run = 0
    for verdict in reversed(verdicts):
        if verdict not in {"CovariateShift", "PredictionShift"}:
            break
        run += 1
    return run


def file_content(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error
