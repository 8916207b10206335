"""The few fields of Jobs, pods, nodes and events that decisions read: 4 kB an object, not 30."""

from datetime import datetime
from typing import Any

import msgspec

from gyre_operators.engine.clock import parse_time


class Owner(msgspec.Struct, frozen=True, rename="camel"):
    """One owner reference."""

    kind: str
    name: str
    uid: str


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """Metadata."""

    name: str
    namespace: str = ""
    uid: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """A condition of a Job, pod or node."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class JobStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A Job's status."""

    conditions: tuple[Condition, ...] = ()


class Job(msgspec.Struct, frozen=True):
    """A Job."""

    metadata: Meta
    status: JobStatus = JobStatus()

    @property
    def complete(self) -> bool:
        """Every pod it needs has succeeded."""
        return holds(self.status.conditions, "Complete") is not None

    @property
    def failed(self) -> Condition | None:
        """The condition that says why it failed; its pods are gone or ended by then."""
        return holds(self.status.conditions, "Failed")


class Waiting(msgspec.Struct, frozen=True):
    """A container that does not run yet."""

    reason: str = ""
    message: str = ""


class Running(msgspec.Struct, frozen=True, rename="camel"):
    """A container that runs."""

    started_at: str | None = None


class Terminated(msgspec.Struct, frozen=True, rename="camel"):
    """A container that ended."""

    exit_code: int = 0
    signal: int | None = None
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None


class State(msgspec.Struct, frozen=True):
    """Exactly one is set, or none at the very start."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """A container's status."""

    name: str
    image: str = ""
    image_id: str = msgspec.field(default="", name="imageID")
    state: State = State()
    last_state: State = State()
    """How it ended before it was started again."""


class Volume(msgspec.Struct, frozen=True):
    """A volume of a pod, by its name."""

    name: str


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """A pod's spec."""

    node_name: str = ""
    volumes: tuple[Volume, ...] = ()


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A pod's status."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[Container, ...] = ()
    container_statuses: tuple[Container, ...] = ()


class Pod(msgspec.Struct, frozen=True):
    """A pod."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ended(self) -> bool:
        """Nothing in it runs any more, nor will."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def ready(self) -> bool:
        """It takes requests, and is not about to go."""
        return holds(self.status.conditions, "Ready") is not None and self.metadata.deletion_timestamp is None

    @property
    def containers(self) -> tuple[Container, ...]:
        """Init containers first, in the pod's order."""
        return self.status.init_container_statuses + self.status.container_statuses

    def container(self, name: str) -> Container | None:
        """A container's status by name."""
        return next((each for each in self.containers if each.name == name), None)

    def terminated(self, name: str) -> Terminated | None:
        """How a container ended, if it did."""
        container = self.container(name)
        return container.state.terminated if container else None

    def runs(self, name: str) -> bool:
        """Whether a container runs right now."""
        container = self.container(name)
        return container is not None and container.state.running is not None

    @property
    def disruption(self) -> Condition | None:
        """Eviction, preemption or node loss: the cluster's doing, not the program's."""
        return holds(self.status.conditions, "DisruptionTarget")

    def owned_by(self, uid: str) -> bool:
        """Whether that object's uid is among its owners."""
        return any(owner.uid == uid for owner in self.metadata.owner_references)


class NodeSpec(msgspec.Struct, frozen=True):
    """A node's spec."""

    unschedulable: bool = False


class NodeStatus(msgspec.Struct, frozen=True):
    """A node's status; quantities stay text until somebody counts."""

    allocatable: dict[str, str] = {}
    conditions: tuple[Condition, ...] = ()


class Node(msgspec.Struct, frozen=True):
    """A node."""

    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Involved(msgspec.Struct, frozen=True):
    """What an event is about."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class Happening(msgspec.Struct, frozen=True, rename="camel"):
    """An Event."""

    metadata: Meta
    involved_object: Involved = Involved()
    reason: str = ""
    message: str = ""
    last_timestamp: str | None = None


def holds(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """The condition of that type, if its status is True."""
    return next((each for each in conditions if each.type == kind and each.status == "True"), None)


def instant(text: str | None) -> datetime | None:
    """An optional RFC 3339 text as an instant."""
    return parse_time(text) if text else None


def newest(pods: tuple[Pod, ...]) -> Pod | None:
    """The pod that was made last: a Job replaces its pods."""
    return max(pods, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name), default=None)


def to_view(kind: type[Any], body: Any) -> Any:
    """A projection from a plain object, for code that holds one already."""
    return msgspec.convert(body, kind)
