"""`python -m tests.e2e.story`: tell the whole story on the running cluster; exit code 1 when a step did not happen."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.e2e.story import census, chapters
from tests.e2e.story.kube import Json, Kube, StoryError
from tests.e2e.story.stage import SERVICE, Stage, write_summary
from tests.e2e.story.traffic import Traffic
from tests.e2e.story.voice import Voice

NAMESPACE = "census"
SUMMARY = Path(".gyre/demo/summary.json")
WINDOW = 20
"""Seconds of a monitor's window: long enough for 1,000 rows."""
RATE = 100.0
LABEL_DELAY = 5.0


def stage_of(kubeconfig: Path | None) -> Stage:
    """A fresh telling on the cluster of this kubeconfig; None means the current one."""
    return Stage(kube=Kube(kubeconfig, NAMESPACE), voice=Voice(), window=WINDOW)


def local_kubeconfig() -> Path | None:
    """The local cluster's kubeconfig, unless CLUSTER says to use another cluster."""
    return None if os.environ.get("CLUSTER") else Path(".gyre/cluster/default/kubeconfig").resolve()


@contextlib.asynccontextmanager
async def listening(stage: Stage) -> AsyncIterator[None]:
    """Reports, decisions and rollout steps are told as they appear."""
    task = asyncio.create_task(stage.listen())
    try:
        with stage.voice.live(stage.board):
            yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def live_traffic(stage: Stage) -> AsyncIterator[None]:
    """Requests flow until the block ends."""
    service = await stage.kube.get("service", SERVICE)
    if service is None:
        raise StoryError(f"Service {SERVICE} is not there")
    stage.base = f"http://{service['spec']['clusterIP']}"
    stage.traffic = Traffic(stage.base, SERVICE, census.features(), census.LABEL, rate=RATE, label_delay=LABEL_DELAY)
    stage.board.tally = stage.traffic.tally
    stage.traffic.people(census.people((2016,), oldest=64))
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        stage.traffic.input = await _input(stage, session)
        task = asyncio.create_task(stage.traffic.run(session))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _input(stage: Stage, session: aiohttp.ClientSession) -> tuple[str, str]:
    async with session.get(f"{stage.base}/v2/models/{SERVICE}") as answer:
        metadata = await answer.json()
    first = metadata["inputs"][0]
    return first["name"], first["datatype"]


async def tell(stage: Stage) -> None:
    """All five chapters."""
    await chapters.install(stage)
    async with listening(stage):
        await chapters.first_version(stage)
        async with live_traffic(stage):
            await chapters.healthy_traffic(stage)
            await chapters.upstream_fault(stage)
            await chapters.real_change(stage)
            await chapters.broken_candidate(stage)


def close(stage: Stage, summary: Json) -> None:
    """The closing words."""
    say = stage.voice.say
    stage.voice.chapter("What happened")
    for name, value in summary["seconds"].items():
        say(f"{name:>22} {value:8.1f} s")
    for version in summary["versions"]:
        aliases = ", ".join(version["aliases"]) or "-"
        say(f"{version['name']}  {(version['digest'] or '')[:19]}  MLflow {version['mlflow']}  {aliases}")
    say(f"{summary['requests']:,} requests, {summary['failedRequests']} failed; {summary['labels']:,} labels came back")
    for name, count in summary["failedByVersion"].items():
        say(f"{count} of the failures were answered by {name or 'nobody'}")
    stage.voice.chapter("Try next")
    here = 'eval "$(python3 -m tests.localcluster env)"   # kubectl, helm and this cluster, for your shell'
    say(here if stage.kube.kubeconfig else "your kubeconfig is set")
    say(f"kubectl get gyre -n {NAMESPACE}")
    say(f"kubectl describe model census -n {NAMESPACE}")
    say("kubectl -n gyre-system port-forward svc/gyre-mlflow 5000   # then http://localhost:5000")
    say(f"the summary is in {SUMMARY}; `make demo-down` removes everything")


async def main() -> int:
    """Tell it, and sum it up whatever happened."""
    stage = stage_of(local_kubeconfig())
    outcome = 0
    try:
        await tell(stage)
    except StoryError as error:
        stage.voice.trouble(str(error))
        outcome = 1
    stage.seconds["total"] = stage.voice.seconds()
    versions: list[Json] = []
    with contextlib.suppress(StoryError):
        versions = await stage.kube.list("modelversion")
    summary = write_summary(stage, versions, SUMMARY)
    broken = stage.broken
    if outcome == 0 and (unexpected := summary["failedRequests"] - summary["failedByVersion"].get(broken, 0)):
        stage.voice.trouble(f"{unexpected} requests failed; the first: {summary['firstFailure']}")
        outcome = 1
    close(stage, summary)
    return outcome


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
