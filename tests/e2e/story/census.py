"""The census example as the story uses it: its data, its manifests, its upload to the store."""

import asyncio
import base64
import functools
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import yaml
from obstore.store import S3Store

from tests.e2e.story.kube import Json, Kube, StoryError

EXAMPLE = Path("docs/examples/census")
KEY = "data/census-2015.parquet"
LABEL = "employed"


@functools.cache
def _data() -> ModuleType:
    spec = importlib.util.spec_from_file_location("census_data", EXAMPLE / "data.py")
    if spec is None or spec.loader is None:
        raise StoryError(f"{EXAMPLE}/data.py is missing: run the story from the repository's root")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def features() -> list[str]:
    """The model's columns, in order."""
    return list(_data().FEATURES)


@functools.cache
def people(years: Sequence[int], oldest: int | None) -> list[dict[str, Any]]:
    """People of 16 to `oldest` (None: from 16 on) of these years, in a fixed random order."""
    rows: list[dict[str, Any]] = _data().replay(years, oldest).to_pylist()
    return rows


async def upload(kube: Kube) -> int:
    """Put the training rows into the namespace's store with the credential that the chart left there; their count."""
    table = await asyncio.to_thread(_data().training)
    content = io.BytesIO()
    pq.write_table(table, content)
    secret = await kube.get("secret", "gyre-store")
    if secret is None:
        raise StoryError(f"Secret gyre-store is missing in namespace {kube.namespace}: the chart should have made it")
    value = {key: base64.b64decode(text).decode() for key, text in secret["data"].items()}
    bucket, _, prefix = value["uri"].removeprefix("s3://").partition("/")
    store = S3Store(
        bucket,
        prefix=prefix,
        endpoint=await _reachable(kube, value["endpoint"]),
        region=value["region"],
        access_key_id=value["access_key_id"],
        secret_access_key=value["secret_access_key"],
        client_options={"allow_http": True},
    )
    # What an earlier telling left would be taken for this one's payloads and history.
    async for page in store.list():
        await store.delete_async([item["path"] for item in page])
    await store.put_async(KEY, content.getvalue())
    return int(table.num_rows)


async def _reachable(kube: Kube, endpoint: str) -> str:
    """The endpoint by address: cluster names do not resolve on the host."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    name, namespace = host.split(".")[:2]
    out = await kube.run("kubectl", "-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
    return f"http://{out}:{port}"


def manifests(namespace: str, *, window: int) -> list[Json]:
    """The example's three manifests, in this namespace and with a window short enough for a demo."""
    text = "\n---\n".join(
        (EXAMPLE / "manifests" / f"{name}.yaml").read_text() for name in ("model", "inferenceservice", "driftmonitor")
    )
    out = [item for item in yaml.safe_load_all(text.replace("s3://gyre/default/", f"s3://gyre/{namespace}/")) if item]
    for item in out:
        if item["kind"] == "DriftMonitor":
            item["spec"]["window"]["every"] = f"{window}s"
    return out


def broken_patch() -> Json:
    """What a hurried person does to the Model: a faulty parameter, and the champion gate taken out."""
    patch: Json = yaml.safe_load((EXAMPLE / "manifests" / "broken.patch.yaml").read_text())
    return patch
