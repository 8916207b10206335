"""Payload and feedback parts beyond their retention: which, and taking them away."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from gyre_crds.base import seconds
from gyre_crds.contracts.store import feedback_prefix, payload_prefix
from gyre_crds.v1alpha1.inference import PayloadLog
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.plan import Effect
from gyre_operators.inference.observed import Observed

_HOUR = "%Y-%m-%d-%H"


@dataclass(frozen=True, slots=True)
class Sweep(Effect):
    """Remove a service's parts of the hours before `before` (`yyyy-mm-dd-hh`, UTC)."""

    service: str
    """`<namespace>/<name>`."""
    prefixes: tuple[str, ...]
    before: str
    hour: str
    """The hour this is done in; once in each is enough."""


class Parts(Protocol):
    """The object store, as far as sweeping needs it. Each call may raise `UnavailableError`."""

    async def under(self, uri: str, *, limit: int = 1000) -> list[str]:
        """URIs below a prefix, sorted."""

    async def delete(self, uri: str) -> None:
        """Remove one."""


def sweep_of(seen: Observed, now: datetime) -> Sweep | None:
    """What is to be swept in this hour; None where it was done, or nothing is logged."""
    spec, meta = seen.service.spec, seen.service.metadata
    if spec.payloads is None and not seen.monitors:
        return None
    hour = now.strftime(_HOUR)
    if seen.swept == hour or not seen.ground.store:
        return None
    kept = timedelta(seconds=seconds((spec.payloads or PayloadLog()).retention))
    return Sweep(
        service=f"{meta.namespace}/{meta.name}",
        prefixes=tuple(f"{seen.ground.store}/{prefix(meta.name)}/" for prefix in (payload_prefix, feedback_prefix)),
        before=(now - kept).strftime(_HOUR),
        hour=hour,
    )


async def carry_out(sweep: Sweep, parts: Parts) -> int:
    """Remove the parts; how many went. A store that is away is no reason to hold a rollout up: the next hour comes."""
    gone = 0
    for prefix in sweep.prefixes:
        try:
            for uri in expired(await parts.under(prefix), prefix, sweep.before):
                await parts.delete(uri)
                gone += 1
        except UnavailableError:
            return gone
    return gone


def expired(uris: Sequence[str], prefix: str, before: str) -> list[str]:
    """The parts of hours before `before`; what does not lie in an hour's folder is not ours."""
    return [uri for uri in uris if _is_hour(hour := uri.removeprefix(prefix).split("/")[0]) and hour < before]


def _is_hour(text: str) -> bool:
    try:
        datetime.strptime(text, _HOUR)  # noqa: DTZ007  only its form is of interest
    except ValueError:
        return False
    return True
