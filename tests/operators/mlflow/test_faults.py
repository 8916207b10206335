"""MLflow away, losing answers, or saying no: each ends in one version, or one sentence."""

import asyncio
import json
import subprocess
import uuid
from itertools import count

import aiohttp
import pytest

from gyre_operators.engine.guard import Guard, UnavailableError
from gyre_operators.registry_client.mlflow import Mlflow
from gyre_operators.registry_client.types import ID, Registration, RegistryRefusedError
from tests.operators.mlflow.server import MlflowServer, Proxy, program

CREATE = ("POST", "model-versions/create")


@pytest.fixture
def wanted() -> Registration:
    """A version of a model of this test alone."""
    return Registration(f"team.model-{uuid.uuid4().hex[:8]}", "s3://gyre/team/sha256/ab/cd", {ID: "key-1"})


async def test_answer_lost_after_commit(mlflow: Mlflow, proxy: Proxy, wanted: Registration) -> None:
    """A 502 after MLflow committed costs nothing: the version is found, and made only once."""
    proxy.verdict = lambda *request: "lose" if request == CREATE else "pass"
    made = await mlflow.register(wanted)
    assert made.number == "1"
    assert proxy.seen.count(CREATE) == 1
    assert [each.number for each in await mlflow.versions(wanted.name)] == ["1"]


async def test_every_second_answer_lost(mlflow: Mlflow, proxy: Proxy, wanted: Registration) -> None:
    """However often answers are lost, repeating until it works leaves exactly one version."""
    turn = count()
    proxy.verdict = lambda *_request: "lose" if next(turn) % 2 == 0 else "pass"
    for _ in range(20):
        try:
            await mlflow.register(wanted)
            break
        except UnavailableError:
            continue
    proxy.verdict = lambda *_request: "pass"
    assert (await mlflow.register(wanted)).number == "1"
    assert len(await mlflow.versions(wanted.name)) == 1


async def test_many_writers(mlflow: Mlflow, wanted: Registration) -> None:
    """Eight writers at once leave one version, and later all see the same number."""
    await asyncio.gather(*(mlflow.register(wanted) for _ in range(8)), return_exceptions=True)
    numbers = {(await mlflow.register(wanted)).number for _ in range(3)}
    assert len(numbers) == 1
    assert len(await mlflow.versions(wanted.name)) == 1


async def test_reads_are_repeated_and_writes_are_not(mlflow: Mlflow, proxy: Proxy, wanted: Registration) -> None:
    """A read survives two bad answers; a write is tried once and says that MLflow is away."""
    bad = count()
    proxy.verdict = lambda *_request: "drop" if next(bad) < 2 else "pass"
    assert await mlflow.versions(wanted.name) == []
    proxy.verdict = lambda method, _path: "drop" if method == "POST" else "pass"
    with pytest.raises(UnavailableError, match="MLflow is away: it answers 502 Bad Gateway"):
        await mlflow.register(wanted)
    assert [each for each in proxy.seen if each[0] == "POST"] == [("POST", "registered-models/create")]


async def test_nobody_listens(http: aiohttp.ClientSession, wanted: Registration) -> None:
    """A refused connection is MLflow being away, and after five the breaker answers at once."""
    mlflow = Mlflow(http, "http://127.0.0.1:1", guard=Guard("MLflow", timeout=5, threshold=5))
    for _ in range(3):
        with pytest.raises(UnavailableError, match="MLflow is away"):
            await mlflow.register(wanted)


async def test_something_else_answers(mlflow: Mlflow, proxy: Proxy, wanted: Registration) -> None:
    """A page where JSON is expected is said to be so."""
    proxy.verdict = lambda *_request: "html"
    with pytest.raises(UnavailableError, match="what answers is not MLflow's REST API"):
        await mlflow.register(wanted)


async def test_host_is_not_allowed(mlflow: Mlflow, proxy: Proxy, wanted: Registration) -> None:
    """MLflow's refusal of an unknown host name ends as a sentence with the flag that cures it."""
    proxy.verdict = lambda *_request: "host"
    with pytest.raises(RegistryRefusedError, match="--allowed-hosts") as refused:
        await mlflow.register(wanted)
    assert refused.value.reason == "RegistryUnreachable"


async def test_name_of_a_prompt(mlflow: Mlflow, server: MlflowServer, http: aiohttp.ClientSession) -> None:
    """A prompt of the model's name is told as NameTaken."""
    name = f"team.prompt-{uuid.uuid4().hex[:8]}"
    body = {"name": name, "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]}
    url = f"{server.url}/api/2.0/mlflow/registered-models/create"
    async with http.post(url, data=json.dumps(body), headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 200
    with pytest.raises(RegistryRefusedError, match=f"MLflow holds a prompt of the name '{name}'") as refused:
        await mlflow.register(Registration(name, "s3://gyre/team/x", {ID: "key-1"}))
    assert refused.value.reason == "NameTaken"


async def test_mlflows_own_client_agrees(mlflow: Mlflow, server: MlflowServer, wanted: Registration) -> None:
    """What we wrote is what MLflow's own client reads by alias."""
    made = await mlflow.register(wanted)
    await mlflow.set_alias(wanted.name, "champion", made.number)
    script = (
        "import sys, mlflow\n"
        "client = mlflow.MlflowClient(sys.argv[1])\n"
        "found = client.get_model_version_by_alias(sys.argv[2], 'champion')\n"
        "print(found.version, found.source, found.tags['gyre.dev/id'])\n"
    )
    argv = [str(program().with_name("python")), "-c", script, server.url, wanted.name]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [made.number, wanted.source, "key-1"]
