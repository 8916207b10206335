"""Pods as the controllers read them: the few fields that say how a pod fares."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec


class Terminated(msgspec.Struct, rename="camel"):
    """How a container ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    finished_at: str = ""


class Waiting(msgspec.Struct, rename="camel"):
    """Why a container does not run."""

    reason: str = ""
    message: str = ""


class State(msgspec.Struct, rename="camel"):
    """A container's present or last state; at most one is set."""

    terminated: Terminated | None = None
    waiting: Waiting | None = None


class Container(msgspec.Struct, rename="camel"):
    """One container of a pod."""

    name: str
    ready: bool = False
    restart_count: int = 0
    state: State = msgspec.field(default_factory=State)
    last_state: State = msgspec.field(default_factory=State)


class Condition(msgspec.Struct, rename="camel"):
    """One condition of a pod."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class Meta(msgspec.Struct, rename="camel"):
    """Who the pod is."""

    name: str
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    deletion_timestamp: str | None = None


class Status(msgspec.Struct, rename="camel"):
    """How the pod fares."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    conditions: list[Condition] = []
    init_container_statuses: list[Container] = []
    container_statuses: list[Container] = []


class Pod(msgspec.Struct, rename="camel"):
    """A pod."""

    metadata: Meta
    status: Status = msgspec.field(default_factory=Status)

    @property
    def ready(self) -> bool:
        """Whether it takes requests and is not about to go."""
        holds = any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)
        return holds and self.metadata.deletion_timestamp is None

    @property
    def containers(self) -> tuple[Container, ...]:
        """Init containers first."""
        return (*self.status.init_container_statuses, *self.status.container_statuses)


class Ended(NamedTuple):
    """One container's end."""

    container: str
    exit_code: int
    reason: str
    message: str


def endings(pod: Pod) -> Iterator[Ended]:
    """How containers of the pod ended, now or before their restart."""
    for container in pod.containers:
        end = container.state.terminated or container.last_state.terminated
        if end is not None:
            yield Ended(container.name, end.exit_code, end.reason, end.message)


def message_of(pod: Pod, container: str) -> str:
    """The termination message of a container, or "" while there is none."""
    return next((end.message for end in endings(pod) if end.container == container), "")


def hindrance(pod: Pod) -> str:
    """Why the pod does not run yet, as a sentence without a full stop; "" when nothing is known."""
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"pod {pod.metadata.name} is not placed: {condition.message or condition.reason}"
    for container in pod.containers:
        waits = container.state.waiting
        if waits is not None and waits.reason not in ("", "PodInitializing", "ContainerCreating"):
            detail = f": {waits.message}" if waits.message else ""
            return f"container {container.name} of pod {pod.metadata.name} waits ({waits.reason}){detail}"
    return ""
