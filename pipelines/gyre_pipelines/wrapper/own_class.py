"""A class of the user's own as the model: `Model` in model.py of $GYRE_OUTPUT, with what it reads beside it.

`Model(directory)` loads; `predict(inputs)` takes a numpy array an input, rows first, and gives an array or a
dictionary of arrays by output. `signature.json` says the tensors; without it there is one input `input`, FP64,
with a column a feature.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

FILE = "model.py"
SIGNATURE = "signature.json"
_TYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip


def is_model(output: Path) -> bool:
    """Whether model.py there is the model: it has a `Model`, and no graph or MLflow model lies there, which goes first.

    A file that does not parse counts: its own error says more than that there is no model.
    """
    file = output / FILE
    if not file.is_file() or any(output.glob("*.onnx")) or any(output.rglob("MLmodel")):
        return False
    try:
        tree = ast.parse(file.read_bytes(), FILE)
    except (SyntaxError, ValueError):
        return True
    return any("Model" in _bound(statement) for statement in tree.body)


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a statement at the top of a file gives a meaning."""
    if isinstance(statement, ast.ClassDef):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name for alias in statement.names}
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return set()


def predict(output: Path, columns: list[str], values: list[list[Any]]) -> Any:
    """What the class says to rows.

    Args:
        output: holds model.py.
        columns: names of the features.
        values: a list a column, None where a value is missing.

    Raises:
        Exception: whatever the user's code raises, or ValueError where an input names no feature.
    """
    model = _module(output).Model(output)
    table = dict(zip(columns, values))
    return model.predict({one["name"]: _tensor(one, table) for one in _inputs(output, columns)})


def _module(output: Path) -> Any:
    sys.dont_write_bytecode = True  # what publish finds is what the training left
    sys.path.insert(0, str(output))
    spec = importlib.util.spec_from_file_location("model", output / FILE)
    if spec is None or spec.loader is None:
        raise ValueError(f"{FILE} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules["model"] = module
    spec.loader.exec_module(module)
    return module


def _inputs(output: Path, columns: list[str]) -> list[dict[str, Any]]:
    file = output / SIGNATURE
    if file.exists():
        found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["inputs"]
        return found
    return [{"name": "input", "datatype": "FP64", "shape": [-1, len(columns)], "columns": columns}]


def _tensor(one: dict[str, Any], table: dict[str, list[Any]]) -> Any:
    """The array of an input: its columns along the last dimension, as the model server makes it of golden rows."""
    import numpy as np  # noqa: PLC0415  in the user's image, or not at all

    names = one.get("columns") or [one["name"]]
    unknown = [name for name in names if name not in table]
    if unknown:
        raise ValueError(
            f"input {one['name']} of {SIGNATURE} needs column {unknown[0]}, the contract has {', '.join(table)}"
        )
    stacked = np.stack([_column(one["datatype"], table[name]) for name in names], axis=-1)
    return stacked.reshape([-1, *one["shape"][1:]])


def _column(datatype: str, values: list[Any]) -> Any:
    import numpy as np  # noqa: PLC0415

    if datatype == "BYTES":
        return np.array([b"" if value is None else str(value).encode() for value in values], dtype=object)
    if datatype.startswith("FP"):
        values = [float("nan") if value is None else value for value in values]
    return np.array(values, dtype=_TYPES[datatype])
