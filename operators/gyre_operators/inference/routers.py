"""Routers and serving pods, asked over HTTP: what they run, what they counted, why they wait."""

import asyncio
from collections.abc import Iterable
from typing import Protocol, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from gyre_crds.contracts.routing import CONTROL_PORT, RouterCounters, RouterState
from gyre_crds.contracts.serving import AGENT_PORT, SERVER_PORT
from gyre_operators.engine.guard import Guard, UnavailableError
from gyre_operators.inference.faults import probe_fault
from gyre_operators.inference.observed import Fault, Router
from gyre_operators.workload.views import Pod

T = TypeVar("T", bound=BaseModel)

_TIMEOUT = 2.0
_MOST_BYTES = 4 << 20
_GUARDS = 512


class Asked(Protocol):
    """What the controller asks of pods; tests answer in its place."""

    async def routers(self, pods: Iterable[Pod], *, counters: bool) -> tuple[Router, ...]:
        """The live routers; with `counters`, what they run and counted as well."""

    async def readiness(self, pod: Pod) -> Fault | None:
        """What a serving pod that is not ready says on /readyz; None when it says nothing."""


class PodClient:
    """`Asked` over HTTP to the pods' own addresses. A pod that does not answer is a fact, not an error."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._guards: dict[str, Guard] = {}

    async def routers(self, pods: Iterable[Pod], *, counters: bool) -> tuple[Router, ...]:
        """See `Asked.routers`."""
        live = [pod for pod in pods if pod.status.pod_ip and _is_live(pod)]
        if not counters:
            return tuple(Router(pod=pod.metadata.name, ready=pod.ready) for pod in live)
        return tuple(await asyncio.gather(*(self._router(pod) for pod in live)))

    async def readiness(self, pod: Pod) -> Fault | None:
        """See `Asked.readiness`."""
        if pod.status.phase != "Running" or not pod.status.pod_ip:
            return None
        with_agent = any(container.name == "agent" for container in pod.containers)
        port = AGENT_PORT if with_agent else SERVER_PORT
        said = await self._get(pod, f"http://{_host(pod)}:{port}/readyz", _Readiness)
        return probe_fault(said.reason, said.message) if said is not None and not said.ready else None

    async def _router(self, pod: Pod) -> Router:
        base = f"http://{_host(pod)}:{CONTROL_PORT}/v1"
        state, counters = await asyncio.gather(
            self._get(pod, f"{base}/state", RouterState), self._get(pod, f"{base}/counters", RouterCounters)
        )
        return Router(pod=pod.metadata.name, ready=pod.ready, state=state, counters=counters)

    async def _get(self, pod: Pod, url: str, shape: type[T]) -> T | None:
        async def call() -> bytes:
            async with self._http.get(url) as answer:
                return await answer.content.read(_MOST_BYTES)

        try:
            body = await self._guard(pod.metadata.uid)(call, aiohttp.ClientError)
            return shape.model_validate_json(body)
        except (UnavailableError, ValidationError):
            return None

    def _guard(self, uid: str) -> Guard:
        """One breaker a pod: a dead router does not slow the questions to the others."""
        if uid not in self._guards:
            if len(self._guards) >= _GUARDS:
                self._guards.clear()
            self._guards[uid] = Guard(f"pod {uid}", timeout=_TIMEOUT, threshold=3, pause=5.0)
        return self._guards[uid]


class _Readiness(BaseModel):
    ready: bool = False
    reason: str = ""
    message: str = ""


def _is_live(pod: Pod) -> bool:
    """Whether a router process may be running in the pod; one that only crashes must not hold up every rollout."""
    router = pod.container("router")
    stands = router is not None and (router.state.waiting is not None or router.state.terminated is not None)
    return pod.status.phase == "Running" and not stands


def _host(pod: Pod) -> str:
    address = pod.status.pod_ip
    return f"[{address}]" if ":" in address else address
