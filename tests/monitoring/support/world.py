"""A namespace's store in a directory, and tasks that run on it as a Job runs them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gyre_crds.contracts.attempt import MESSAGE_LIMIT
from gyre_crds.contracts.store import StoreEnv
from gyre_crds.contracts.task import ENV, LookOrder, LookReport, Report
from gyre_monitoring.cli import main
from tests.monitoring.support import census
from tests.monitoring.support.looks import CONTRACT, HOUR, START, monitor

LATER = census.people()[1]
YOUNG = census.young(LATER)


class World:
    """A namespace's store in a directory, and a service `census` that logs into it."""

    def __init__(self, root: Path, termination: Path) -> None:
        self.root, self.termination = root, termination
        self.uri = f"file://{root}"
        self.parts = 0
        self.put("versions/v/reference.parquet", census.reference())

    def put(self, path: str, table: pa.Table) -> None:
        """Write a Parquet object."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target)

    def traffic(
        self, hour: int, people: census.Frame, change: Callable[[pa.Table], pa.Table] | None = None
    ) -> list[str]:
        """An hour of requests in four parts, evenly spread; the request ids."""
        rows, start = people["y"].size, START + hour * HOUR
        ids = [f"{hour}-{k}" for k in range(rows)]
        table = census.scored(people)
        ours = {
            "gyre_request_id": pa.array(ids),
            "gyre_row": pa.array(np.zeros(rows, np.int32)),
            "gyre_key": pa.array(ids),
            "gyre_time": pa.array([start + HOUR * k / rows for k in range(rows)], pa.timestamp("us", "UTC")),
            "gyre_revision": pa.array(["stable"] * rows),
            "gyre_version": pa.array(["census-0123456789ab"] * rows),
            "gyre_propensity": pa.array(np.ones(rows)),
            "gyre_label_sample": pa.array(np.arange(rows) % 100 == 0),
        }
        for name, column in ours.items():
            table = table.append_column(name, column)
        table = change(table) if change else table
        for part in range(4):
            self._part("payloads/census", table.slice(rows * part // 4, rows // 4), "gyre_time")
        return ids

    def feedback(self, ids: list[str], truth: Any, at: datetime, *, first: bool = True) -> None:
        """Labels that became known at an instant."""
        count = len(ids)
        table = pa.table(
            {
                "gyre_request_id": ids,
                "gyre_row": pa.array(np.zeros(count, np.int32)),
                "label": np.asarray(truth[:count], dtype=np.float64),
                "gyre_label_time": pa.array([at] * count, pa.timestamp("us", "UTC")),
                "gyre_first": [first] * count,
            }
        )
        self._part("feedback/census", table, "gyre_label_time")

    def order(self, hour: int, **fields: Any) -> LookOrder:
        """The order to look at one hour."""
        start = START + hour * HOUR
        known: dict[str, Any] = {
            "namespace": "team", "monitor": "census-watch", "service": "census",
            "profile": f"{self.uri}/versions/v/reference.parquet", "window_start": text_of(start),
            "window_end": text_of(start + HOUR), "spec": monitor(), "contract": CONTRACT,
            "out": f"{self.uri}/reports/census-watch/{text_of(start).replace(':', '')}",
            "history": f"{self.uri}/reports/census-watch",
        }  # fmt: skip
        return LookOrder(**known | fields)

    def look(self, hour: int, **fields: Any) -> Report:
        """Run one look; its report from the store."""
        message, code = self.run("look", self.order(hour, **fields))
        assert code == 0, message
        return Report.model_validate(json.loads(self.read(LookReport.model_validate(message).uri)))

    def run(self, command: str, order: Any) -> tuple[dict[str, Any], int]:
        """Termination message and exit code of a task."""
        text = order if isinstance(order, str) else order.model_dump_json(by_alias=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ENV, text)
            patch.setenv(StoreEnv.URI, self.uri)
            patch.setenv("GYRE_TERMINATION_LOG", str(self.termination))
            code = main([command])
        content = self.termination.read_bytes()
        assert len(content) <= MESSAGE_LIMIT
        return json.loads(content), code

    def read(self, uri: str) -> bytes:
        """An object's bytes."""
        return Path(uri.removeprefix("file://")).read_bytes()

    def _part(self, prefix: str, table: pa.Table, time: str) -> None:
        self.parts += 1
        first, last = (one.as_py() for one in (pc.min(table[time]), pc.max(table[time])))
        stamps = "-".join(str(int(one.timestamp() * 1000)) for one in (first, last))
        self.put(f"{prefix}/{first:%Y-%m-%d-%H}/{stamps}-router-a-1-{self.parts}.parquet", table)


def text_of(moment: datetime) -> str:
    """The instant as orders write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
