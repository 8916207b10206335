"""Callers' tokens in a router's pods: where each Secret is mounted, and what a route asks for. Pure."""

from hashlib import sha256
from typing import Any

from gyre_crds.contracts.routing import TOKEN_ROOT, AuthRule
from gyre_crds.v1alpha1.inference import Auth


def rule_of(auth: Auth | None) -> AuthRule | None:
    """What the route asks for, once the routers can know the tokens."""
    if auth is None:
        return None
    directory = f"{TOKEN_ROOT}/{auth.tokens.secret}"
    return AuthRule(tokens=directory, predict=auth.predict, feedback=auth.feedback)


def secret_of(rule: AuthRule) -> str:
    """The Secret behind a rule."""
    return rule.tokens.removeprefix(f"{TOKEN_ROOT}/")


def volume_name(secret: str) -> str:
    """A Secret's name may be longer than a volume's."""
    return f"tokens-{sha256(secret.encode()).hexdigest()[:12]}"


def volume(secret: str) -> dict[str, Any]:
    """The Secret as a volume. Optional: one service's missing Secret must not keep the router of all from starting."""
    return {"name": volume_name(secret), "secret": {"secretName": secret, "optional": True}}


def mount(secret: str) -> dict[str, Any]:
    """Where the router looks for it."""
    return {"name": volume_name(secret), "mountPath": f"{TOKEN_ROOT}/{secret}", "readOnly": True}
