"""Objects that do not parse: an older CRD stored them, or a later Gyre wrote them. They are there all the same."""

from collections.abc import Mapping
from typing import Any

from gyre_operators.engine.entry import Entry, Reader


def unread(reader: Reader[Any], namespace: str) -> Mapping[str, Entry[Any]]:
    """The objects of a namespace that do not parse, by name.

    `Reader.all` leaves them out, so that whoever takes something away because it is not there asks here.
    """
    entries = (reader.entry(key) for key in reader.keys(namespace))
    return {entry.key.name: entry for entry in entries if entry is not None and entry.value is None}
