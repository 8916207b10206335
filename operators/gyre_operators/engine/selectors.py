"""Label selectors evaluated here, for objects that we wrote and a watch would deliver later."""

from typing import Any

from gyre_operators.engine.plan import Manifest


def matches(selector: str, metadata: Manifest) -> bool:
    """Whether an object fits a selector of the forms `k`, `!k`, `k=v`, `k!=v`, joined by commas.

    Raises:
        ValueError: the selector has another form.
    """
    labels: dict[str, Any] = metadata.get("labels") or {}
    return all(_fits(term.strip(), labels) for term in selector.split(",") if term)


def _fits(term: str, labels: dict[str, Any]) -> bool:
    if any(sign in term for sign in "()"):
        raise ValueError(f"selector {term!r}: use k, !k, k=v or k!=v")
    if "!=" in term:
        name, value = term.split("!=")
        return bool(labels.get(name.strip()) != value.strip())
    if "=" in term:
        name, value = term.replace("==", "=").split("=")
        return bool(labels.get(name.strip()) == value.strip())
    if term.startswith("!"):
        return term[1:].strip() not in labels
    return term in labels
