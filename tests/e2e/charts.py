"""The two charts, installed as a user does it."""

from tests.e2e.small import kube
from tests.e2e.story.__main__ import NAMESPACE as STORY

SYSTEM = "gyre-system"


async def fresh(*namespaces: str) -> None:
    """These namespaces, empty, under the Pod Security level restricted."""
    run = kube(SYSTEM).run
    await run("kubectl", "delete", "namespace", *namespaces, "--ignore-not-found", "--timeout=3m")
    for name in namespaces:
        await run("kubectl", "create", "namespace", name)
        await run("kubectl", "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")


async def install(namespaces: str, *values: str) -> None:
    """Install or upgrade, with these namespaces (divided by commas) beside the story's, and wait."""
    run = kube(SYSTEM).run
    again = await run("helm", "list", "-n", SYSTEM, "-q", "--filter", "^gyre$")
    story = await run("kubectl", "get", "namespace", STORY, "--ignore-not-found", "-o", "name")
    living = f"{namespaces},{STORY}" if story.strip() else namespaces
    upgrade = ("helm", "upgrade", "--install", "-n", SYSTEM, "--create-namespace")
    await run(*upgrade, "gyre-crds", "charts/gyre-crds")
    options = [option for value in values for option in ("--set", value)]
    spaces = ("--set", f"workloads.namespaces={{{living}}}")
    await run(*upgrade, "gyre", "charts/gyre", "--wait", "--timeout", "5m", *spaces, *options)
    if again.strip():
        # The images may be newer under the same tag, which an upgrade alone does not see.
        await kube(SYSTEM).kubectl("rollout", "restart", "deployment/gyre-operator")
        await kube(SYSTEM).kubectl("rollout", "status", "deployment/gyre-operator", "--timeout=2m")
