"""Tensors as the columns of a table."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gyre_crds.v1alpha1.version import Tensor

Array = NDArray[Any]


def column_names(tensor: Tensor, width: int) -> list[str]:
    """Names of so many columns: the tensor's own list, its name where it has one, else its name and a number."""
    names = list(tensor.columns) or [tensor.name]
    return names if len(names) == width else [f"{tensor.name}_{index}" for index in range(width)]


def columns(tensor: Tensor, values: Array) -> dict[str, Array]:
    """The columns of a tensor by name, texts as Python has them."""
    if tensor.datatype == "BYTES":
        decoded = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values.ravel()]
        values = np.array(decoded, dtype=object).reshape(values.shape)
    flat = values.reshape(len(values), -1)
    return {name: flat[:, index] for index, name in enumerate(column_names(tensor, flat.shape[1]))}
