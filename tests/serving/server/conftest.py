"""A fetched version on the built-in server, as in a pod."""

from collections.abc import Iterator

import pytest

from tests.serving.support import pod
from tests.serving.support.versions import Version


@pytest.fixture(scope="module")
def server(version: Version, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pod.Container]:
    """A server that is ready."""
    root = tmp_path_factory.mktemp("pod") / "models"
    root.mkdir()
    order = version.order(runtime="Python")
    done = pod.fetch(order, root)
    assert done.returncode == 0, done.stderr
    with pod.container("serve", order, root) as running:
        running.until("Serving")
        yield running
