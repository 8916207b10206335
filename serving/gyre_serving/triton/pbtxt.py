"""Write protobuf text format, the form of Triton's config.pbtxt."""

import json
from collections.abc import Mapping
from typing import Any


class Enum(str):
    """A bare word: an enum's value, written without quotes."""

    __slots__ = ()


def dumps(message: Mapping[str, Any], indent: int = 0) -> str:
    """The message as text: mappings are messages, lists repeated fields, `Enum` bare words.

    Raises:
        TypeError: a value of another type.
    """
    return "".join(_field(key, value, indent) for key, value in message.items())


def _field(key: str, value: Any, indent: int) -> str:
    pad = "  " * indent
    if isinstance(value, Mapping):
        return f"{pad}{key} {{\n{dumps(value, indent + 1)}{pad}}}\n"
    if isinstance(value, list):
        if value and not isinstance(value[0], Mapping):
            return f"{pad}{key}: [ {', '.join(map(_scalar, value))} ]\n"
        return "".join(_field(key, item, indent) for item in value) if value else f"{pad}{key}: [ ]\n"
    return f"{pad}{key}: {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"{value!r} has no protobuf text form here")
