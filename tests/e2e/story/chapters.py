"""The five chapters. Each does one thing to the world and waits for what Gyre makes of it."""

import asyncio
import json
import random
import time
from typing import Any

from tests.e2e.story import census
from tests.e2e.story.kube import Json, StoryError, condition, ready
from tests.e2e.story.stage import MODEL, SERVICE, Stage
from tests.e2e.story.traffic import Change, Row, unchanged

_LOSS = {"PerformanceLoss", "ConceptDrift"}
_SHIFT = {"CovariateShift", "PredictionShift", "EstimatedLoss"} | _LOSS


async def install(stage: Stage) -> None:
    """`helm install` of the two charts."""
    kube = stage.kube
    if (await kube.run("kubectl", "get", "namespace", kube.namespace, "--ignore-not-found")).strip():
        stage.voice.say(f"namespace {kube.namespace} is left from an earlier telling: deleting it")
        await kube.run("kubectl", "delete", "namespace", kube.namespace, "--timeout=3m")
    start = time.monotonic()
    stage.voice.say("helm install gyre-crds and gyre (operator, MLflow, S3 server)")
    again = await kube.run("helm", "list", "-n", "gyre-system", "-q", "--filter", "^gyre$")
    await kube.run(
        "helm", "upgrade", "--install", "gyre-crds", "charts/gyre-crds", "-n", "gyre-system", "--create-namespace"
    )
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": kube.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    await kube.apply(namespace)
    await kube.run(
        "helm", "upgrade", "--install", "gyre", "charts/gyre", "-n", "gyre-system", "--wait", "--timeout", "5m",
        "--set", f"workloads.namespaces={{{kube.namespace}}}",
    )  # fmt: skip
    if again.strip():
        # The images may be newer under the same tag, which an upgrade alone does not see.
        await kube.run("kubectl", "-n", "gyre-system", "rollout", "restart", "deployment/gyre-operator")
        await kube.run("kubectl", "-n", "gyre-system", "rollout", "status", "deployment/gyre-operator", "--timeout=2m")
    stage.seconds["install"] = time.monotonic() - start
    stage.voice.say(f"installed in {stage.seconds['install']:.0f} s")


async def first_version(stage: Stage) -> None:
    """1. Apply three manifests; a model is trained, proven, registered and served."""
    stage.voice.chapter("1. kubectl apply: Model, InferenceService, DriftMonitor")
    rows = await census.upload(stage.kube)
    stage.voice.say(f"{rows:,} people of 16 to 64 from 2015 are in the store")
    start = time.monotonic()
    for manifest in census.manifests(stage.kube.namespace, window=stage.window):
        await stage.kube.apply(manifest)
    stage.voice.say(f"applied; the demo looks every {stage.window} s instead of every hour")
    await _trained(stage, start, 240)
    await stage.kube.wait("the first answer", lambda: _serving(stage), 240)
    stage.seconds["deploy"] = time.monotonic() - start - stage.seconds["train"]
    champion = await stage.kube.wait("a champion", lambda: _champion(stage), 120)
    stage.voice.say(f"{champion} is champion; {SERVICE} answers")


async def _trained(stage: Stage, start: float, patience: float) -> Json:
    async def running() -> bool:
        jobs = await stage.kube.list("trainingjob")
        return bool(jobs) and any(attempt.get("start") for attempt in jobs[-1].get("status", {}).get("attempts", []))

    await stage.kube.wait("a running training", running, patience, every=0.3)
    stage.seconds.setdefault("applyToTrainingStart", time.monotonic() - start)
    job = await _finished_job(stage, patience)
    stage.seconds.setdefault("train", time.monotonic() - start)
    stage.voice.say(f"TrainingJob {job['metadata']['name']} made {job['status']['version']}")
    return job


async def _finished_job(stage: Stage, patience: float) -> Json:
    async def probe() -> Json | None:
        jobs = await stage.kube.list("trainingjob")
        newest = jobs[-1] if jobs else None
        if newest and condition(newest, "Stalled").get("status") == "True":
            raise StoryError(f"training failed: {condition(newest)['reason']}: {condition(newest)['message']}")
        return newest if newest and newest.get("status", {}).get("version") else None

    found: Json = await stage.kube.wait("a finished training", probe, patience)
    return found


async def _serving(stage: Stage) -> bool:
    return ready(await stage.kube.get("inferenceservice", SERVICE))


async def _champion(stage: Stage) -> str | None:
    model = await stage.kube.get("model", MODEL)
    name: str | None = (model or {}).get("status", {}).get("champion", {}).get("name")
    return name


async def healthy_traffic(stage: Stage) -> None:
    """2. People of 16 to 64 of the next year ask; nothing is wrong, and nothing happens."""
    stage.voice.chapter("2. Live traffic: people of 16 to 64, labels come late")
    traffic = _traffic(stage)
    traffic.people(census.people((2016,), oldest=64))
    since = await stage.next_window()
    await stage.report({"Healthy"}, since, stage.window * 5 + 90)
    await stage.decision(lambda entry: entry["reason"] == "Healthy", "a decision not to retrain", 60)


async def upstream_fault(stage: Stage) -> None:
    """3. Ages in months, then ages missing: faults upstream, which no training can cure."""
    stage.voice.chapter("3. An upstream fault: age in months, then 30 % of ages missing")
    traffic = _traffic(stage)
    await _until_reported(stage, _age_in_months, "SchemaBreak")
    await _until_reported(stage, _age_missing, "QualityIncident")
    traffic.change(unchanged)
    await stage.decision(lambda entry: entry["reason"] == "NotAModelProblem", "a refusal to retrain", 60)


async def _until_reported(stage: Stage, fault: Change, verdict: str) -> None:
    """The fault stays: a busy node skips looks, and one window's fault would be gone before anybody looked."""
    since = await stage.next_window()
    _traffic(stage).change(fault)
    await stage.report({verdict}, since, stage.window * 8 + 150)


def _age_in_months(row: Row, _dice: random.Random) -> Row:
    return {**row, "AGEP": row["AGEP"] * 12}


def _age_missing(row: Row, dice: random.Random) -> Row:
    return {**row, "AGEP": None} if dice.random() < 0.3 else row


def _age_sometimes_missing(row: Row, dice: random.Random) -> Row:
    return {**row, "AGEP": None} if dice.random() < 0.1 else row


async def real_change(stage: Stage) -> None:
    """4. The age limit falls; the model is wrong about the old, and retraining pays."""
    stage.voice.chapter("4. A real change: the programme drops its age limit of 64")
    traffic, before = _traffic(stage), await _champion(stage)
    since, start = await stage.next_window(), time.monotonic()
    traffic.people(census.people((2017, 2018), oldest=None))
    await stage.report(_SHIFT, since, stage.window * 4 + 90)
    stage.seconds["detect"] = time.monotonic() - start
    decision = await stage.decision(
        lambda entry: entry["action"] == "Retrain" and entry["trigger"] == "Drift",
        "a decision to retrain",
        stage.window * 12 + 120,
    )
    stage.seconds["decide"] = time.monotonic() - start
    stage.voice.say("the arithmetic: " + ", ".join(f"{key} {value:g}" for key, value in decision["arithmetic"].items()))
    await stage.kube.wait("the training of the decision", lambda: _exists(stage, "trainingjob", decision["job"]), 60)
    job = await _finished_job(stage, 240)
    stage.voice.say(f"TrainingJob {job['metadata']['name']} made {job['status']['version']}")
    trained = time.monotonic()

    async def moved() -> bool:
        return await _champion(stage) not in {None, before}

    await stage.kube.wait("a new champion", moved, 420)
    stage.seconds["rollout"] = time.monotonic() - trained
    await _compare(stage, before or "", await _champion(stage) or "")


async def _exists(stage: Stage, kind: str, name: str) -> bool:
    return await stage.kube.get(kind, name) is not None


async def _compare(stage: Stage, old: str, new: str) -> None:
    tally = _traffic(stage).tally
    right, all_ = tally.hits[new], tally.answers[new]
    await asyncio.sleep(10)
    fresh = (tally.hits[new] - right) / max(1, tally.answers[new] - all_)
    stage.voice.say(f"{new} is right about {fresh:.1%} of everyone from 16 on; {old} stays deployable")


async def broken_candidate(stage: Stage) -> None:
    """5. A candidate that cannot take a missing age: the canary rolls back by itself."""
    stage.voice.chapter("5. A broken candidate: it fails on requests without an age")
    traffic, champion, kube = _traffic(stage), await _champion(stage), stage.kube
    before = {item["metadata"]["name"] for item in await kube.list("modelversion")}
    stage.voice.say("somebody trains with a faulty parameter and takes the champion gate out")
    start = time.monotonic()
    await kube.kubectl("patch", "model", MODEL, "--type=merge", "-p", json.dumps(census.broken_patch()))
    await kube.kubectl("annotate", "--overwrite", "model", MODEL, "gyre.dev/retrain=broken")

    async def made() -> str | None:
        names = [item["metadata"]["name"] for item in await kube.list("modelversion")]
        return next((name for name in names if name not in before), None)

    broken = stage.broken = await kube.wait("the broken version", made, 240)
    await kube.wait(f"{broken} to pass its gates", lambda: _version_ready(stage, broken), 180)
    stage.voice.say(f"{broken} passed its gates: every held-out row has an age; now one request in ten has none")
    traffic.change(_age_sometimes_missing)

    async def rejected() -> bool:
        service = await kube.get("inferenceservice", SERVICE)
        entries = (service or {}).get("status", {}).get("rejected", [])
        return any(entry["version"] == broken for entry in entries)

    await kube.wait("the rollback", rejected, 300)
    stage.seconds["rollback"] = time.monotonic() - start
    traffic.change(unchanged)
    if await _champion(stage) != champion:
        raise StoryError(f"the champion should still be {champion}")


async def _version_ready(stage: Stage, name: str) -> bool:
    return ready(await stage.kube.get("modelversion", name))


def _traffic(stage: Stage) -> Any:
    if stage.traffic is None:
        raise StoryError("the traffic has not started")
    return stage.traffic
