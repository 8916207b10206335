"""Whether callers are asked for their tokens, as the routers say. Pure."""

from gyre_crds.conditions import Condition
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.inference import Auth
from gyre_operators.inference.observed import Observed
from gyre_operators.inference.routing import confirmed, route_of, waits_for
from gyre_operators.workload.tokens import rule_of

TYPE = "Protected"


def protection(seen: Observed) -> Condition | None:
    """The condition; None where nobody asks for tokens."""
    auth = seen.service.spec.auth
    if auth is None:
        return None
    route = route_of(seen)
    if route is None or route.auth != rule_of(auth) or not route.revisions:
        return _said(Inference.ROUTERS_RESTARTING, _until_mounted(seen, auth))
    asked = Condition(
        type=TYPE,
        status="True",
        reason=Inference.PROTECTED,
        message=f"tokens of Secret {auth.tokens.secret} are asked for",
    )
    if confirmed(seen) is None:
        if any(_same(asked, before) for before in seen.status.conditions):
            return asked  # another service's change is on its way to the routers; none of them asks for less
        return _said(Inference.ROUTER_STARTING, waits_for(seen))
    name = seen.service.metadata.name
    if any(router.state is None or not router.state.callers.get(name) for router in seen.routers):
        return _said(Inference.NO_TOKENS, _without_tokens(auth))
    return asked


def _same(one: Condition, other: Condition) -> bool:
    return (one.type, one.status, one.message) == (other.type, other.status, other.message)


def _said(reason: Inference, message: str) -> Condition:
    return Condition(type=TYPE, status="False", reason=reason, message=message)


def _until_mounted(seen: Observed, auth: Auth) -> str:
    """What callers meet while router pods are replaced."""
    until = f"until every router pod has Secret {auth.tokens.secret} mounted"
    route = route_of(seen)
    if route is None or not route.revisions:
        return f"auth.tokens.secret: nobody is answered {until}"
    if route.auth is None:
        return f"auth.tokens.secret: everybody is still answered without a token, {until}"
    return f"auth.tokens.secret: the former tokens are still asked for, {until}"


def _without_tokens(auth: Auth) -> str:
    return (
        f"auth.tokens.secret: a router finds no token in Secret {auth.tokens.secret} and answers 503; give it "
        "one key a caller with a token of 16 characters or more (a running router has it within about a minute)"
    )
