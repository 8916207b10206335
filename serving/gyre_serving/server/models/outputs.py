"""What a user's code answers, as the tensors of the signature."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gyre_serving.golden.tensors import DTYPES

Array = NDArray[Any]


def named(answered: Any, names: list[str]) -> dict[str, Any]:
    """By name what comes as an array, a list, a Series, a DataFrame or a dict."""
    if isinstance(answered, Mapping):
        return dict(answered)
    columns = getattr(answered, "columns", None)
    if columns is not None and set(names) <= set(columns):
        return {name: answered[name].to_numpy() for name in names}
    return {names[0]: answered.to_numpy() if hasattr(answered, "to_numpy") else np.asarray(answered)}


def typed(answered: Mapping[str, Any], name: str, datatype: str) -> Array:
    """One output in the signature's type.

    Raises:
        ValueError: it was not answered.
    """
    if name not in answered:
        raise ValueError(f"predict gave no output {name}, only {', '.join(map(str, answered))}")
    values = np.asarray(answered[name])
    if datatype == "BYTES":
        return np.array([str(value).encode() for value in values.ravel()], dtype=object).reshape(values.shape)
    return values.astype(DTYPES[datatype], copy=False)
