"""CRDs from the API types: pydantic's JSON schema made structural, as apiextensions v1 wants it.

`python -m gyre_crds` writes or checks the YAML and the reference pages.
"""

from collections.abc import Mapping
from typing import Any

from gyre_crds.base import GROUP, VERSION, Resource, name_cap_message, wire_name

Json = dict[str, Any]

_DROPPED = frozenset({"title", "$defs", "discriminator", "const", "exclusiveMinimum", "exclusiveMaximum"})
_WHOLE = {
    "apiVersion": "The version of this object's schema, `gyre.dev/v1alpha1`.",
    "kind": "The kind of this object.",
}


def crd(kind: type[Resource]) -> Json:
    """The CustomResourceDefinition of a kind, ready to be applied."""
    version: Json = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root_schema(kind)},
        "subresources": {"status": {}, **({"scale": dict(kind.SCALE)} if kind.SCALE else {})},
        "additionalPrinterColumns": [
            {"name": column.name, "jsonPath": column.path, "type": column.type, "priority": column.priority}
            for column in kind.COLUMNS
        ],
    }
    if kind.SELECTABLE:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.SELECTABLE]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.KIND,
                "listKind": f"{kind.KIND}List",
                "plural": kind.PLURAL,
                "singular": kind.KIND.lower(),
                "shortNames": list(kind.SHORT),
                **({"categories": list(kind.CATEGORIES)} if kind.CATEGORIES else {}),
            },
            "versions": [version],
        },
    }


def root_schema(kind: type[Resource]) -> Json:
    """The structural schema of a whole object."""
    raw = kind.model_json_schema(mode="validation", by_alias=True)
    spec = structural(raw["properties"]["spec"], raw["$defs"])
    spec["description"] = f"What is wanted of the {kind.KIND}."
    spec.setdefault("x-kubernetes-validations", []).extend(_immutability(kind))
    if not spec["x-kubernetes-validations"]:
        del spec["x-kubernetes-validations"]
    status = structural(raw["properties"]["status"], raw["$defs"])
    status["description"] = f"What is known of the {kind.KIND}; written by Gyre."
    return {
        "type": "object",
        "description": kind.__doc__,
        "required": ["spec"],
        "properties": {
            **{name: {"type": "string", "description": text} for name, text in _WHOLE.items()},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "x-kubernetes-validations": [
            {"rule": f"size(self.metadata.name) <= {kind.NAME_CAP}", "message": name_cap_message(kind)}
        ],
    }


def structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Json:
    """One schema node in structural form.

    Raises:
        TypeError: the type has no structural form (a real union, a tuple).
    """
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return structural({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
    if node.get("x-kubernetes-int-or-string"):
        return {key: value for key, value in node.items() if key not in {"anyOf", "title"}}
    if "anyOf" in node:
        return _without_null(node, definitions)
    out = {key: value for key, value in node.items() if key not in _DROPPED}
    if "const" in node:
        out["enum"] = [node["const"]]
    _bounds(node, out)
    _children(node, out, definitions)
    if out.get("default", "") is None:
        del out["default"]
    return out


def _without_null(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Json:
    kept = [option for option in node["anyOf"] if option.get("type") != "null"]
    if len(kept) != 1:
        raise TypeError(f"{node.get('title', node)}: a union has no structural form; split the field")
    outer = {key: value for key, value in node.items() if key != "anyOf" and not (key == "default" and value is None)}
    return structural({**kept[0], **outer}, definitions)


def _bounds(node: Mapping[str, Any], out: Json) -> None:
    # apiextensions follows JSON schema draft 4: an exclusive bound is a flag beside the bound.
    for exclusive, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in node:
            out[plain] = node[exclusive]
            out[exclusive] = True
    most = out.get("maximum")
    if isinstance(most, float) and not most.is_integer():
        # Of a whole number above it the API server says "less than or equal to 0": it cuts the bound for its message.
        below = out.pop("exclusiveMaximum", False)
        del out["maximum"]
        said = f"choose a number {'below' if below else 'of at most'} {most:g}"
        rule = {"rule": f"self {'<' if below else '<='} {most:g}", "message": said}
        out["x-kubernetes-validations"] = [*out.get("x-kubernetes-validations", []), rule]


def _children(node: Mapping[str, Any], out: Json, definitions: Mapping[str, Any]) -> None:
    if "prefixItems" in node:
        raise TypeError(f"{node.get('title', node)}: a tuple has no structural form; use named fields")
    if "properties" in node:
        out["properties"] = {name: structural(child, definitions) for name, child in node["properties"].items()}
        out.pop("additionalProperties", None)
    elif isinstance(node.get("additionalProperties"), Mapping):
        out["additionalProperties"] = structural(node["additionalProperties"], definitions)
    elif node.get("x-kubernetes-preserve-unknown-fields"):
        out.pop("additionalProperties", None)
    if "items" in node:
        out["items"] = structural(node["items"], definitions)


def _immutability(kind: type[Resource]) -> list[Json]:
    spec = kind.model_fields["spec"].annotation
    fields: Mapping[str, Any] = getattr(spec, "model_fields", {})
    fixed = set(fields) if kind.IMMUTABLE == "all" else set(kind.IMMUTABLE)
    return [
        {
            "rule": f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
            "message": f"{name} cannot change after creation; create a new {kind.KIND}",
        }
        for name in sorted(wire_name(field) for field in fixed - kind.MUTABLE)
    ]
