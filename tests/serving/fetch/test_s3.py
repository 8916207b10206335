"""Fetching from a real S3 server (versitygw), as in a cluster."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from gyre_crds.contracts import artifact
from gyre_crds.contracts.serving import FetchOrder
from tests.localcluster import toolchain
from tests.localcluster.errors import ClusterError
from tests.serving.support import pod
from tests.serving.support.pod import call
from tests.serving.support.triton import free_port
from tests.serving.support.versions import Version

ACCESS, SECRET = "gyre", "gyre-secret"


def _program() -> str:
    try:
        return toolchain.program("versitygw")
    except ClusterError as error:
        pytest.skip(str(error))


@contextmanager
def _server(data: Path) -> Iterator[str]:
    (data / "gyre").mkdir(parents=True)
    port = free_port()
    command = [_program(), "--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, "posix", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 15
        while call(port, "/")[0] == 0:
            assert time.monotonic() < until, "versitygw does not answer"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def endpoint(version: Version, tmp_path: Path) -> Iterator[str]:
    """A server whose bucket holds the version below its digest."""
    with _server(tmp_path / "s3") as endpoint:
        store = S3Store(
            "gyre", endpoint=endpoint, region="us-east-1", access_key_id=ACCESS, secret_access_key=SECRET,
            virtual_hosted_style_request=False, client_options={"allow_http": True},
        )  # fmt: skip
        for path in version.tree.rglob("*"):
            if path.is_file():
                obstore.put(store, f"team-a/tree/{path.relative_to(version.tree).as_posix()}", path.read_bytes())
        yield endpoint


def _order(version: Version, place: str = "team-a/tree") -> FetchOrder:
    return version.order().model_copy(update={"uri": f"s3://gyre/{place}"})


def _environment(endpoint: str, secret: str = SECRET) -> dict[str, str]:
    return {
        "GYRE_STORE_URI": "s3://gyre/team-a",
        "GYRE_STORE_ENDPOINT": endpoint,
        "GYRE_STORE_ACCESS_KEY_ID": ACCESS,
        "GYRE_STORE_SECRET_ACCESS_KEY": secret,
    }


def test_a_version_comes_from_s3(version: Version, endpoint: str, root: Path) -> None:
    """With the namespace's endpoint and credential the tree arrives and verifies."""
    done = pod.fetch(_order(version), root, **_environment(endpoint))
    assert done.returncode == 0, done.stderr
    assert artifact.scan(root / "tree").tree_digest == version.digest


def test_a_wrong_credential_is_told_as_such(version: Version, endpoint: str, root: Path) -> None:
    """The server refuses the signature: exit code 64 and the Secret to look at."""
    assert pod.fetch(_order(version), root, **_environment(endpoint, "wrong")).returncode == 64
    said = pod.failure(root)
    assert said.reason == "StoreDenied"
    assert "check Secret gyre-store" in said.message


def test_a_version_that_is_not_there_is_told_as_such(version: Version, endpoint: str, root: Path) -> None:
    """Nothing below the prefix: the version is gone, and trying again cannot help."""
    assert pod.fetch(_order(version, "team-a/other"), root, **_environment(endpoint)).returncode == 64
    assert pod.failure(root).reason == "ArtifactGone"
