"""The images reach a registry of the user's own, under the names that the chart asks for."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcluster.control import free_ports
from tests.localcluster.images import REGISTRY, version
from tests.localcluster.packages import install
from tests.localcluster.process import wait_until

pytestmark = pytest.mark.node

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def _get(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": MANIFEST})  # noqa: S310  http of this machine
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  http of this machine
        return bytes(answer.read())


def _answers(url: str) -> bool:
    try:
        _get(url)
    except OSError:
        return False
    return True


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry on loopback; its address."""
    install([] if Path("/usr/bin/docker-registry").exists() else ["docker-registry"])
    (port,) = free_ports(1)
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "blobs")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (tmp_path / "config.yml").write_text(json.dumps(settings), encoding="utf-8")
    with subprocess.Popen(
        ["docker-registry", "serve", str(tmp_path / "config.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        assert wait_until(lambda: _answers(f"http://127.0.0.1:{port}/v2/"), seconds=20, every=0.1)
        yield f"127.0.0.1:{port}"
        running.terminate()


def _push(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.localcluster", "images", *arguments]
    return subprocess.run(argv, check=False, capture_output=True, text=True)


def test_pushed_image_is_the_one_that_the_node_runs(registry: str) -> None:
    """After a push, the registry gives `<registry>/gyre/operators:<version>` with the layers that were built."""
    pushed = _push("operators", "--push", f"{registry}/gyre")
    assert pushed.returncode == 0, pushed.stderr
    manifest = json.loads(_get(f"http://{registry}/v2/gyre/operators/manifests/{version()}"))
    config = json.loads(_get(f"http://{registry}/v2/gyre/operators/blobs/{manifest['config']['digest']}"))
    assert len(manifest["layers"]) == len(config["rootfs"]["diff_ids"]) > 1
    assert config["config"]["User"] == "10001:10001"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--push", "https://r.example.com"), "is no registry: write host[:port][/path]", id="a scheme"),
        pytest.param(("--push", ""), "is no registry: write host[:port][/path]", id="nothing named"),
        pytest.param(("mlflow", "--push", "r.example.com"), "published by its makers", id="an image of others"),
    ],
)
def test_what_cannot_be_pushed_is_said(arguments: tuple[str, ...], says: str) -> None:
    """A wrong registry or image ends in one sentence before anything is built."""
    done = _push(*arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert REGISTRY not in done.stdout
