"""Evidently's own report for people, beside ours; the verdict never comes from it."""

import importlib
import importlib.util
import os
from typing import Any

import numpy as np
import pyarrow as pa

from gyre_crds.contracts.profile import Profile
from gyre_monitoring.profile import Tables

_ROWS = 5000
_SEED = 11


def html(current: Tables, reference: Tables | None, profile: Profile) -> tuple[bytes | None, str]:
    """The page, or None and the reason why there is none.

    At most 5,000 rows of each side: Evidently draws every column with Plotly and needs 1.7 GB for a million.
    """
    if importlib.util.find_spec("evidently") is None:
        return None, "Evidently is not in this image: build it with the evidently extra, or set spec.engine Native."
    if reference is None:
        return None, "Evidently needs the reference rows, and the profile does not say where they are."
    names = [one.name for one in profile.columns if one.kind not in {"Text", "Vector"} and one.type != "time"]
    sides = [_sample(tables, names) for tables in (current, reference)]
    if any(not side.num_rows or set(side.column_names) != set(names) for side in sides):
        return None, "Evidently cannot compare these rows: a column is missing from the window or the reference."
    try:
        return _rendered(sides, profile), ""
    except Exception as error:  # noqa: BLE001  their failure must not cost our verdict
        return None, f"Evidently failed ({type(error).__name__}); the native report stands."


def _rendered(sides: list[pa.Table], profile: Profile) -> bytes:
    os.environ["DO_NOT_TRACK"] = "1"  # it posts to a plain-http address otherwise
    evidently, presets = (importlib.import_module(name) for name in ("evidently", "evidently.presets"))

    kinds = {one.name: one.kind for one in profile.columns}
    names = sides[0].column_names
    definition = evidently.DataDefinition(
        numerical_columns=[name for name in names if kinds[name] == "Number"],
        categorical_columns=[name for name in names if kinds[name] == "Category"],
    )
    frames: list[Any] = [evidently.Dataset.from_pandas(side.to_pandas(), data_definition=definition) for side in sides]
    snapshot = evidently.Report([presets.DataDriftPreset()]).run(frames[0], frames[1])
    page: str = snapshot.get_html_str(as_iframe=False)  # no file: the container's root is read-only
    return page.encode()


def _sample(tables: Tables, names: list[str]) -> pa.Table:
    kept = [table.select([name for name in names if name in table.column_names]) for table in tables()]
    whole = pa.concat_tables(kept, promote_options="permissive") if kept else pa.table({})
    if whole.num_rows <= _ROWS:
        return whole
    chosen = np.random.default_rng(_SEED).choice(whole.num_rows, _ROWS, replace=False)
    return whole.take(pa.array(np.sort(chosen)))
