"""How callers prove themselves to a router's pods: what is mounted there, and what a route asks for. Pure."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from gyre_crds.contracts.routing import TLS_ROOT, TLS_SECRET, TOKEN_ROOT, AuthRule, ReviewRule
from gyre_crds.v1alpha1.auth import Auth, MutualTls, Reviewed, TokenReview

TLS_VOLUME = "tls"
"""Every router pod has it, whatever the Secret holds."""


def rule_of(auth: Auth | None) -> AuthRule | None:
    """What the route asks for, once the routers can tell who calls."""
    if auth is None:
        return None
    return AuthRule(
        tokens=f"{TOKEN_ROOT}/{auth.tokens.secret}" if auth.tokens else None,
        review=_review(auth.token_review) if auth.token_review else None,
        certificates=list(_names(auth.mtls)) if auth.mtls else [],
        predict=auth.predict,
        feedback=auth.feedback,
    )


def _review(asked: TokenReview) -> ReviewRule:
    return ReviewRule(
        audiences=list(asked.audiences),
        users=[user for one in asked.allow if (user := _user(one)) is not None],
        groups=[one.group for one in asked.allow if one.group is not None],
    )


def _user(one: Reviewed) -> str | None:
    if one.service_account is None:
        return one.user
    return f"system:serviceaccount:{one.service_account.replace('/', ':')}"


def _names(asked: MutualTls) -> Iterator[str]:
    for one in asked.allow:
        for sort, name in (("uri", one.uri), ("dns", one.dns), ("cn", one.common_name)):
            if name is not None:
                yield f"{sort}:{name}"


def secret_of(rule: AuthRule) -> str | None:
    """The Secret with tokens behind a rule."""
    return rule.tokens.removeprefix(f"{TOKEN_ROOT}/") if rule.tokens is not None else None


def volume_name(secret: str) -> str:
    """A Secret's name may be longer than a volume's."""
    return f"tokens-{sha256(secret.encode()).hexdigest()[:12]}"


def volume(secret: str) -> dict[str, Any]:
    """The Secret as a volume. Optional: one service's missing Secret must not keep the router of all from starting."""
    return {"name": volume_name(secret), "secret": {"secretName": secret, "optional": True}}


def mount(secret: str) -> dict[str, Any]:
    """Where the router looks for it."""
    return {"name": volume_name(secret), "mountPath": f"{TOKEN_ROOT}/{secret}", "readOnly": True}


def tls_volume() -> dict[str, Any]:
    """The routers' certificate. Optional, and mounted from the start: it comes and goes without a new pod."""
    return {"name": TLS_VOLUME, "secret": {"secretName": TLS_SECRET, "optional": True}}


def tls_mount() -> dict[str, Any]:
    """Where the router looks for it."""
    return {"name": TLS_VOLUME, "mountPath": TLS_ROOT, "readOnly": True}
