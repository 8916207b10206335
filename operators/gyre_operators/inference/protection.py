"""Whether callers are asked who they are, as the routers say. Pure."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gyre_crds.conditions import Condition
from gyre_crds.contracts.routing import TLS_SECRET, RouterState
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.auth import Auth
from gyre_operators.engine.plan import Event
from gyre_operators.inference.observed import Observed
from gyre_operators.inference.routing import confirmed, route_of, waits_for
from gyre_operators.workload.tokens import rule_of

TYPE = "Protected"
FAULTS = frozenset({Inference.NO_TOKENS, Inference.CANNOT_REVIEW_TOKENS, Inference.NO_CERTIFICATE})
"""Reasons that only a person can mend."""
_NOT_TRIED = "auth.tokenReview: a router has not tried yet whether Kubernetes tells it whose a token is"


class _Way(NamedTuple):
    """One way in which callers prove themselves."""

    asked: str
    """What is asked for."""
    reason: Inference
    """Why nobody can give it."""
    fault: Callable[[RouterState], str | None]
    """What keeps a router from telling who calls; None where nothing does."""


def protection(seen: Observed) -> Condition | None:
    """The condition; None where everybody may ask."""
    auth = seen.service.spec.auth
    if auth is None:
        return None
    route = route_of(seen)
    if route is None or route.auth != rule_of(auth) or not route.revisions:
        return _said(Inference.ROUTERS_RESTARTING, _until_ready(seen, auth))
    ways = list(_ways(seen, auth))
    message = f"{' or '.join(way.asked for way in ways)} are asked for"
    asked = Condition(type=TYPE, status="True", reason=Inference.PROTECTED, message=message)
    if confirmed(seen) is None:
        if any(_same(asked, before) for before in seen.status.conditions):
            return asked  # another service's change is on its way to the routers; none of them asks for less
        return _said(Inference.ROUTER_STARTING, waits_for(seen))
    faults = _faults(seen, ways)
    return _said(faults[0][0], "; ".join(fault for _, fault in faults)) if faults else asked


def news(seen: Observed) -> tuple[Event, ...]:
    """One Event where a way in has just turned out to lead nowhere: a service that still serves hides it."""
    guard = protection(seen)
    if guard is None or guard.reason not in FAULTS or _NOT_TRIED in guard.message:
        return ()
    before = [one for one in seen.status.conditions if (one.type, one.reason) == (TYPE, guard.reason)]
    if any(_NOT_TRIED not in one.message for one in before):
        return ()
    return (Event(guard.reason, guard.message[:1024], "Warning"),)


def shut(seen: Observed) -> bool:
    """Whether nobody can be let in, for no way works."""
    auth = seen.service.spec.auth
    if auth is None or confirmed(seen) is None or (route := route_of(seen)) is None or route.auth != rule_of(auth):
        return False
    if auth.token_review is not None and any(one.state is None or one.state.reviews is None for one in seen.routers):
        return False  # it was told a moment ago, and tries right now
    ways = list(_ways(seen, auth))
    return len(_faults(seen, ways)) == len(ways)


def _faults(seen: Observed, ways: list[_Way]) -> list[tuple[Inference, str]]:
    """Of each way that some router cannot offer, why."""
    found = []
    for way in ways:
        said = [way.fault(router.state) for router in seen.routers if router.state is not None]
        fault = next((one for one in said if one is not None), None)
        if fault is not None:
            found.append((way.reason, fault))
    return found


def _ways(seen: Observed, auth: Auth) -> Iterator[_Way]:
    name, namespace = seen.service.metadata.name, seen.service.metadata.namespace
    if auth.tokens is not None:
        secret = auth.tokens.secret
        yield _Way(
            f"tokens of Secret {secret}",
            Inference.NO_TOKENS,
            lambda state: None if state.callers.get(name) else _without_tokens(secret, namespace),
        )
    if auth.token_review is not None:
        yield _Way("tokens of Kubernetes", Inference.CANNOT_REVIEW_TOKENS, _without_reviews)
    if auth.mtls is not None:
        yield _Way("client certificates on port 443", Inference.NO_CERTIFICATE, _without_certificate)


def _same(one: Condition, other: Condition) -> bool:
    return (one.type, one.status, one.message) == (other.type, other.status, other.message)


def _said(reason: Inference, message: str) -> Condition:
    return Condition(type=TYPE, status="False", reason=reason, message=message)


def _until_ready(seen: Observed, auth: Auth) -> str:
    """What callers meet while router pods are replaced."""
    if auth.tokens is not None:
        field, what, until = "auth.tokens.secret", "a token", f"has Secret {auth.tokens.secret} mounted"
    else:
        field, what, until = "auth", "a proof", "is of a Gyre that knows what is asked for"
    until = f"until every router pod {until}"
    route = route_of(seen)
    if route is None or not route.revisions:
        return f"{field}: nobody is answered {until}"
    if route.auth is None:
        return f"{field}: everybody is still answered without {what}, {until}"
    return f"{field}: what was asked for before still is, {until}"


def _without_tokens(secret: str, namespace: str) -> str:
    # Routers see a volume, which is empty in either case, and the operator has no right to read Secrets.
    return (
        f"auth.tokens.secret: a router finds no token in Secret {secret} and answers 503, for it does not exist or is "
        "empty; give it one key a caller with a token of 16 characters or more: "
        f'kubectl create secret generic {secret} -n {namespace} --from-literal=web="$(openssl rand -hex 16)" '
        "(a running router has it within about a minute)"
    )


def _without_reviews(state: RouterState) -> str | None:
    if state.reviews == "":
        return None
    if state.reviews is None:
        return _NOT_TRIED
    return f"auth.tokenReview: callers get 503, for {state.reviews}"


def _without_certificate(state: RouterState) -> str | None:
    if state.tls == "":
        return None
    why = state.tls or "a router has no TLS port"
    return (
        f"auth.mtls: nobody can show a certificate, for {why}; give Secret {TLS_SECRET} (type kubernetes.io/tls) the "
        "keys tls.crt, tls.key and ca.crt (a running router has them within about a minute)"
    )
