"""Gives volumes back after their claims are gone, as a provisioner would.

Run as ``python3 -m tests.localcluster.recycler <state folder's cluster name>`` inside the node.
"""

from __future__ import annotations

import http.client
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.localcluster.addons import STORAGE_CLASS
from tests.localcluster.cluster import Cluster
from tests.localcluster.errors import ClusterError
from tests.localcluster.paths import State

_EVERY: Final = 5.0  # seconds
_VOLUMES: Final = "/api/v1/persistentvolumes"


def recycle(cluster: Cluster) -> None:
    """Empty every released volume of the default class and offer it again."""
    api = cluster.api()
    for volume in api.request("GET", _VOLUMES)["items"]:
        if not released(volume):
            continue
        empty(Path(volume["spec"]["local"]["path"]))
        api.request(
            "PATCH",
            f"{_VOLUMES}/{volume['metadata']['name']}",
            {"spec": {"claimRef": None}},
            "application/merge-patch+json",
        )


def released(volume: dict[str, Any]) -> bool:
    """Whether the volume is one of ours and its claim is gone."""
    spec = volume["spec"]
    ours = spec.get("storageClassName") == STORAGE_CLASS and "local" in spec
    return ours and volume["status"].get("phase") == "Released"


def empty(folder: Path) -> None:
    """Remove what a pod left, and the owner that ``fsGroup`` gave the folder."""
    shutil.rmtree(folder)
    folder.mkdir(mode=0o755)


def main() -> None:
    """Look every few seconds until the node goes."""
    cluster = Cluster(State(sys.argv[1]))
    while True:
        try:
            recycle(cluster)
        except (OSError, http.client.HTTPException, ClusterError) as error:
            print(error, flush=True)
        time.sleep(_EVERY)


if __name__ == "__main__":
    main()
