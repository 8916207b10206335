"""A store (the real S3 server where it was built, else a directory) and attempts that train a real model."""

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gyre_crds.contracts.store import StoreEnv
from gyre_pipelines import prepare, publish
from gyre_pipelines.objects import Store
from tests.pipelines.support.attempts import Attempt, free_port, make_attempt

ACCESS, SECRET = "tests", "a-secret-of-the-tests"


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """What publish does to SIGTERM is undone: children of later tests would inherit it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a real S3 server with the bucket `gyre`; skipped where it was never built."""
    cache = Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre")
    programs = sorted(cache.glob("bin/versitygw-*/versitygw"))
    if not programs:
        pytest.skip("no S3 server: run `make cluster-up` once, which builds it")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "root" / "gyre").mkdir(parents=True)
    (folder / "meta").mkdir()
    port = free_port()
    command = [str(programs[-1]), "--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, "--quiet",
               "posix", "--sidecar", str(folder / "meta"), str(folder / "root")]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _wait(endpoint)
            yield endpoint
        finally:
            server.terminate()


def _wait(endpoint: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(endpoint, timeout=1).close()  # noqa: S310  our own address
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{endpoint} does not answer")


@pytest.fixture
def s3_environment(s3: str, tmp_path: Path) -> dict[str, str]:
    """Variables of a namespace's store on the S3 server, a prefix of its own for each test."""
    return {
        StoreEnv.URI: f"s3://gyre/{tmp_path.name}",
        StoreEnv.ENDPOINT: s3,
        StoreEnv.ACCESS_KEY_ID: ACCESS,
        StoreEnv.SECRET_ACCESS_KEY: SECRET,
    }


@pytest.fixture
def directory_environment(tmp_path: Path) -> dict[str, str]:
    """Variables of a store in a directory."""
    return {StoreEnv.URI: f"file://{tmp_path}/store"}


@pytest.fixture
def attempt(tmp_path: Path, directory_environment: dict[str, str]) -> Attempt:
    """An attempt over one Parquet file, with a store in a directory."""
    return make_attempt(tmp_path, directory_environment)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    """An attempt that went all the way once: prepare, wrapper, publish. Copy its folder before changing it."""
    folder = tmp_path_factory.mktemp("published")
    done = make_attempt(folder, {StoreEnv.URI: f"file://{folder}/store"})
    prepare.run(done.parsed(), done.environment())
    code, message = done.wrap()
    assert code == 0, message
    publish.run(done.parsed(), done.environment())
    return done


@pytest.fixture
def python39() -> str:
    """An interpreter of the oldest version that the wrapper promises to run on."""
    places = [shutil.which("python3.9"), *map(str, sorted(Path.home().glob(".pyenv/versions/3.9*/bin/python3.9")))]
    for found in places:
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip("no python3.9 on this machine")


@pytest.fixture
def with_key(s3: str) -> Callable[[str, str], dict[str, str]]:
    """Store variables with a key of one's own choice."""

    def make(uri: str, secret: str) -> dict[str, str]:
        return {
            StoreEnv.URI: uri,
            StoreEnv.ENDPOINT: s3,
            StoreEnv.ACCESS_KEY_ID: ACCESS,
            StoreEnv.SECRET_ACCESS_KEY: secret,
        }

    return make


@pytest.fixture
def store(directory_environment: dict[str, str]) -> Store:
    """An empty store."""
    return Store.of(directory_environment)
