"""From the wire to store entries: metadata always, the rest in the shape the watch asked for."""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import msgspec
import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError

from gyre_operators.engine.plan import Key, Manifest
from gyre_operators.engine.store import Entry, Owner
from gyre_operators.engine.watch import Source

log = logging.getLogger(__name__)


class _OwnerReference(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = "0"
    generation: int = 0
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[_OwnerReference, ...] | None = None


class _Head(msgspec.Struct):
    metadata: _Meta


_head = msgspec.json.Decoder(_Head)


def entry_of(source: Source, body: Manifest, old: Entry[Any] | None = None) -> Entry[Any]:
    """The entry for an object that is already a dict; `old` is what was known of it."""
    if source.type is dict or issubclass(source.type, BaseModel):
        meta = msgspec.convert(body, _Head).metadata
        same = old is not None and old.value is not None and (old.uid, old.generation) == (meta.uid, meta.generation)
        return _entry(source, meta, body, old.value if same and old is not None else None)
    return decode(source, orjson.dumps(body))


def decode(source: Source, body: bytes | msgspec.Raw) -> Entry[Any]:
    """The entry for an object as the API server sent it; fields nobody asked for cost nothing."""
    return _entry(source, _head.decode(body).metadata, body)


def _entry(source: Source, meta: _Meta, body: Manifest | bytes | msgspec.Raw, old: Any = None) -> Entry[Any]:
    value, error, whole = _value(source, body, old)
    status = whole.get("status") or {} if whole is not None and source.type is not dict else None
    return Entry(
        key=Key(meta.namespace, meta.name),
        uid=meta.uid,
        version=int(meta.resource_version),
        labels=meta.labels or {},
        owners=tuple(Owner(o.api_version, o.kind, o.name, o.uid, o.controller) for o in meta.owner_references or ()),
        deleting=meta.deletion_timestamp is not None,
        finalizers=meta.finalizers or (),
        generation=meta.generation,
        value=value,
        error=error,
        status=status,
        raw=whole if source.type is dict or value is None else None,
    )


def _value(source: Source, body: Manifest | bytes | msgspec.Raw, old: Any) -> tuple[Any, str, Manifest | None]:
    if issubclass(source.type, msgspec.Struct):
        try:
            return msgspec.json.decode(cast("bytes", body), type=source.type), "", None
        except msgspec.ValidationError as error:
            return None, str(error), None
    whole = _whole(source, body if isinstance(body, Mapping) else orjson.loads(memoryview(body)))
    if source.type is dict:
        return whole, "", whole
    try:
        return _renewed(old, whole) or _parsed(source.type, whole), "", whole
    except ValidationError as error:
        return None, first_problem(error), whole


def _renewed(old: Any, whole: Manifest) -> BaseModel | None:
    """The known object with metadata and status as they are now: the same generation has the same spec.

    Four in five versions of a job differ in the status alone, and the spec takes most of the parsing.
    """
    if not isinstance(old, BaseModel) or "status" not in type(old).model_fields:
        return None
    try:
        news = {
            part: _adapter(type(old), part).validate_python(whole.get(part), by_alias=True, by_name=False)
            for part in ("metadata", "status")
        }
    except ValidationError:
        return None  # What is wrong, and with how much of it to live, is said where all of it is parsed.
    return old.model_copy(update=news)


@cache
def _adapter(model: type[BaseModel], field: str) -> TypeAdapter[Any]:
    return TypeAdapter(cast("Any", model.model_fields[field].annotation))


def _parsed(model: type[BaseModel], whole: Manifest) -> BaseModel:
    """The typed object; a status that another version wrote and this one cannot read is left out.

    Its owner cannot correct a status, so it must not make the object invalid.
    """
    try:
        return model.model_validate(whole, by_alias=True, by_name=False)
    except ValidationError as error:
        if any(problem["loc"][:1] != ("status",) for problem in error.errors()):
            raise
        log.warning("status not understood, begun anew", extra={"why": first_problem(error)})
        rest = {name: value for name, value in whole.items() if name != "status"}
        return model.model_validate(rest, by_alias=True, by_name=False)


def _whole(source: Source, body: Manifest) -> dict[str, Any]:
    """The object with its type, which items of a LIST lack, and without managed fields.

    Those are about as large as the object and nobody here reads them.
    """
    meta = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    named = {"apiVersion": source.kind.api_version, "kind": source.kind.kind}
    return {**named, **body, "metadata": meta}


def first_problem(error: ValidationError) -> str:
    """Path and message of the first field that does not fit, and how many more there are."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first, more = problems[0], len(problems) - 1
    path = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    tail = f" (and {more} more)" if more else ""
    return f"{path}: {message}{tail}" if path else f"{message}{tail}"
