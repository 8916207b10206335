"""What every API type shares: the pydantic base, rules with their CEL twin, and common scalars."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

GROUP = "gyre.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Rule(NamedTuple):
    """One validation, said twice: in CEL for the API server and in Python for everyone else.

    `check` gets the parsed model and returns True when it holds. `message` names the field and
    the cure. `reason` is what the API server reports (`FieldValueInvalid` by default).
    """

    cel: str
    message: str
    check: Callable[[Any], bool]


def wire_name(name: str) -> str:
    """The camelCase name on the wire; a trailing underscore only keeps clear of Python's own words."""
    return to_camel(name.rstrip("_"))


def _complete(schema: dict[str, Any], cls: type["ApiModel"]) -> None:
    """Add to the JSON schema what pydantic leaves out: descriptions, CEL rules, and defaults made by a factory."""
    for name, text in _descriptions(cls).items():
        schema["properties"][cls.model_fields[name].alias or wire_name(name)].setdefault("description", text)
    if rules := cls.rules():
        schema["x-kubernetes-validations"] = [{"rule": rule.cel, "message": rule.message} for rule in rules]
    for name, field in cls.model_fields.items():
        if field.default_factory is None:
            continue
        value = field.get_default(call_default_factory=True, validated_data={})
        wire = schema["properties"][field.alias or wire_name(name)]
        if isinstance(value, ApiModel):
            # Inner defaults fill the rest, so that a later change of one is not frozen into the outer.
            wire["default"] = {}
        elif value:
            wire["default"] = [item.dump() for item in value]


def _descriptions(cls: type["ApiModel"]) -> dict[str, str]:
    """The docstrings below the fields of a type and of every type it extends.

    Not pydantic's `use_attribute_docstrings`: that reads the source of every type at every import.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, ApiModel):
            (tree,) = ast.parse(inspect.getsource(base)).body
            found |= _docstrings(tree)
    return {name: text for name, text in found.items() if name in cls.model_fields}


def _docstrings(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(ast.iter_child_nodes(tree)):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                yield name, inspect.cleandoc(words)


class ApiModel(BaseModel):
    """A part of a Gyre object: camelCase on the wire, frozen, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=wire_name,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        ser_json_inf_nan="null",
        json_schema_extra=_complete,
        defer_build=True,  # a process uses few of all types; each is built when it is first used
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    @cache  # asked for each part of each object that is parsed
    def rules(cls) -> tuple[Rule, ...]:
        """The rules of this type and of every type it extends."""
        own = (base.__dict__.get("RULES", ()) for base in reversed(cls.__mro__))
        return tuple(rule for rules in own for rule in rules)

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules():
            if not rule.check(self):
                raise ValueError(rule.message)
        return self

    def dump(self) -> dict[str, Any]:
        """The wire form: camelCase keys, JSON types, nothing that was left unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def one_of(*fields: str) -> Rule:
    """Exactly one of the named (snake_case) fields is set."""
    wire = [wire_name(name) for name in fields]
    # CEL escapes no word we use but keeps reserved ones apart; has() wants a plain selector.
    terms = ", ".join(f"has(self.{name})" for name in wire)
    return Rule(
        cel=f"[{terms}].exists_one(x, x)",
        message=f"set exactly one of {', '.join(wire)}",
        check=lambda model: sum(getattr(model, name) is not None for name in fields) == 1,
    )


DurationText = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9]{1,6}(ms|s|m|h|d))+$", max_length=32),
]
"""A length of time such as `30s`, `10m`, `1h30m` or `14d`."""


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


_Named = TypeVar("_Named", bound=_HasName)

_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"


def _is_quantity(value: int | str) -> int | str:
    if isinstance(value, str) and not re.fullmatch(_QUANTITY, value):
        raise ValueError("write a quantity such as 500m, 2 or 4Gi")
    return value


def _are_unique(items: list[_Named]) -> list[_Named]:
    names = [item.name for item in items]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice[0]} stands twice; names are unique in this list")
    return items


MapByName = AfterValidator(_are_unique)
"""Names in the list are unique; beside it stands x-kubernetes-list-type: map."""

LIST_MAP: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}

Quantity = Annotated[
    int | str,
    AfterValidator(_is_quantity),
    Field(json_schema_extra={"x-kubernetes-int-or-string": True, "pattern": _QUANTITY}),
]
"""A Kubernetes quantity such as `500m`, `2` or `4Gi`."""

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63),
]
"""The name of an object in the same namespace."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
"""A content digest, `sha256:` and 64 hex digits."""

Time = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$",
        max_length=40,
    ),
]
"""An RFC 3339 instant in UTC."""

Text = Annotated[str, StringConstraints(max_length=1024)]
"""A sentence for people."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=253)]
"""A short identifier."""

Uri = Annotated[str, StringConstraints(pattern=r"^(s3|gs|az|https?|file)://.+$", max_length=2048)]
"""Where bytes are: `s3://`, `gs://`, `az://`, `https://` or `file://`."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A share between 0 and 1."""

Percent = Annotated[int, Field(ge=0, le=100)]
"""A whole percentage."""

_UNITS: Mapping[str, float] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BINARY: Mapping[str, float] = {
    "": 1, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


def seconds(duration: str) -> float:
    """The seconds in a duration text such as `1h30m`."""
    return sum(amount * _UNITS[unit] for amount, unit in _parts(duration))


def _parts(duration: str) -> Iterator[tuple[int, str]]:
    digits, unit = "", ""
    for char in duration:
        if char.isdigit() and unit:
            yield int(digits), unit
            digits, unit = "", ""
        if char.isdigit():
            digits += char
        else:
            unit += char
    yield int(digits), unit


def amount(quantity: str | int) -> float:
    """The plain number in a Kubernetes quantity: `500m` is 0.5, `4Gi` is 4294967296."""
    text = str(quantity)
    number = text.rstrip("kmMGTi")
    return float(number) * _BINARY[text[len(number) :]]


class ObjectMeta(BaseModel):
    """The part of Kubernetes' object metadata that Gyre reads; the rest is kept, untouched."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True)

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: list[dict[str, Any]] = Field(default_factory=list)


class Column(NamedTuple):
    """One printer column of `kubectl get`. `priority` 1 shows only with `-o wide`."""

    name: str
    path: str
    type: Literal["string", "integer", "number", "date", "boolean"] = "string"
    priority: int = 0


class Resource(ApiModel):
    """A whole object. Each kind says here what the generated CRD says of it."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    SHORT: ClassVar[tuple[str, ...]]
    CATEGORIES: ClassVar[tuple[str, ...]] = ("gyre",)
    """`kubectl get gyre` lists what is wanted and how it stands."""
    NAME_CAP: ClassVar[int]
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    SELECTABLE: ClassVar[tuple[str, ...]] = ()
    SCALE: ClassVar[Mapping[str, str] | None] = None
    IMMUTABLE: ClassVar[frozenset[str] | Literal["all"]] = frozenset()
    """Snake-case spec fields that never change after creation, or all of them."""
    MUTABLE: ClassVar[frozenset[str]] = frozenset()
    """With `IMMUTABLE = "all"`: the snake-case spec fields that may still change."""

    api_version: Literal["gyre.dev/v1alpha1"] = "gyre.dev/v1alpha1"
    kind: str
    metadata: ObjectMeta

    @model_validator(mode="after")
    def _obey_name_cap(self) -> Self:
        if len(self.metadata.name) > self.NAME_CAP:
            raise ValueError(name_cap_message(type(self)))
        return self


def name_cap_message(kind: type[Resource]) -> str:
    """What a name that is too long is told, by the API server and by pydantic alike."""
    return f"metadata.name: choose a name of at most {kind.NAME_CAP} characters; children carry it with a suffix"


_R = TypeVar("_R", bound=Resource)


def parse(kind: type[_R], body: Mapping[str, Any]) -> _R:
    """The typed form of an object as the API server gives it.

    Raises:
        pydantic.ValidationError: with the path of every field that does not fit.
    """
    return kind.model_validate(body, strict=True, by_alias=True, by_name=False)
