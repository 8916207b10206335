"""kubectl and helm against one cluster, and waiting for what objects say."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.localcluster.toolchain import program

Json = dict[str, Any]


class StoryError(Exception):
    """A step of the story did not happen; the text says which and what was seen instead."""


@dataclass(frozen=True)
class Kube:
    """One cluster and the namespace of the story."""

    kubeconfig: Path | None
    namespace: str

    async def run(self, *argv: str, text: str | None = None) -> str:
        """Run a program against the cluster and return what it printed.

        Raises:
            StoryError: it failed; with what it said.
        """
        environment = dict(os.environ)
        if self.kubeconfig:
            environment["KUBECONFIG"] = str(self.kubeconfig)
        process = await asyncio.create_subprocess_exec(
            program(argv[0]) if self.kubeconfig else argv[0],
            *argv[1:],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        out, err = await process.communicate(text.encode() if text is not None else None)
        if process.returncode:
            raise StoryError(f"{' '.join(argv[:4])} failed: {err.decode().strip()}")
        return out.decode()

    async def kubectl(self, *argv: str, text: str | None = None) -> str:
        """Kubectl in the story's namespace."""
        return await self.run("kubectl", "-n", self.namespace, *argv, text=text)

    async def get(self, kind: str, name: str) -> Json | None:
        """One object, or None."""
        out = await self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(out) if out.strip() else None

    async def list(self, kind: str) -> list[Json]:
        """All objects of a kind, oldest first."""
        out = await self.kubectl("get", kind, "-o", "json", "--sort-by=.metadata.creationTimestamp")
        items: list[Json] = json.loads(out)["items"]
        return items

    async def apply(self, manifest: Json) -> None:
        """Server-side apply."""
        await self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", text=json.dumps(manifest))

    async def wait(self, what: str, probe: Callable[[], Any], patience: float, *, every: float = 0.5) -> Any:
        """Poll an async probe until it gives something true, and return that.

        Raises:
            StoryError: it did not within `patience` seconds; with a picture of all objects.
        """
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if found := await probe():
                return found
            await asyncio.sleep(every)
        picture = await self.kubectl("get", "gyre,driftreports,pods", "-o", "wide")
        raise StoryError(f"{what} did not happen within {patience:.0f} s. What is there:\n{picture}")


def condition(item: Json | None, kind: str = "Ready") -> Json:
    """A condition of an object; an empty one when there is none."""
    conditions = (item or {}).get("status", {}).get("conditions", [])
    return next((entry for entry in conditions if entry["type"] == kind), {})


def ready(item: Json | None) -> bool:
    """Whether the object's Ready condition is True."""
    return condition(item).get("status") == "True"
