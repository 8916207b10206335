"""An OCI layout as the shelf between builder and node: every blob is kept and loaded once."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, cast

from tests.localcluster.errors import ClusterError
from tests.localcluster.node import SOCKET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.localcluster.cluster import Cluster

_NAME: Final = "org.opencontainers.image.ref.name"
_LOADED_NAME: Final = "io.containerd.image.name"


@dataclass(frozen=True)
class Layout:
    """A folder with ``index.json`` and ``blobs/sha256``."""

    folder: Path

    def manifest(self, reference: str) -> dict[str, Any] | None:
        """Return the descriptor of an image's manifest."""
        try:
            index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        for entry in index["manifests"]:
            if entry.get("annotations", {}).get(_NAME) == reference:
                return cast("dict[str, Any]", entry)
        return None

    def _inputs_file(self, reference: str) -> Path:
        return self.folder / "inputs" / reference.replace("/", "_")

    def inputs(self, reference: str) -> str:
        """Return the digest of what the image was built from; empty where it was not."""
        if self.manifest(reference) is None:
            return ""
        try:
            return self._inputs_file(reference).read_text(encoding="ascii")
        except FileNotFoundError:
            return ""

    def remember(self, reference: str, digest: str) -> None:
        """Write down what the image was built from."""
        file = self._inputs_file(reference)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(digest, encoding="ascii")

    def loaded(self, cluster: Cluster, reference: str) -> bool:
        """Whether the node has this very image under this name."""
        entry = self.manifest(reference)
        lines = cluster.ctr("images", "list", f"name=={reference}").splitlines()
        return entry is not None and any(entry["digest"] in line for line in lines)

    def load(self, cluster: Cluster, reference: str) -> None:
        """Stream the image into the node's containerd, without the blobs that it has."""
        entry = self.manifest(reference)
        if entry is None:
            raise ClusterError(f"{reference} is not built: run `... images` without --name first.")
        present = set(cluster.ctr("content", "list", "--quiet").split())
        client = ["ctr", "--address", SOCKET, "--namespace", "k8s.io", "images", "import", "-"]
        importer = subprocess.Popen(
            [*cluster.sandbox.among_mounts(), *client],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        stream = cast("IO[bytes]", importer.stdin)
        try:
            self._write(stream, entry, reference, present)
            stream.close()
        except BrokenPipeError:
            pass  # the importer ended early and says why below
        said = cast("IO[bytes]", importer.stderr).read().decode(errors="replace").strip()
        if importer.wait():
            raise ClusterError(f"Loading {reference} failed: {said.splitlines()[-1:]}")

    def _write(self, stream: IO[bytes], entry: dict[str, Any], reference: str, present: set[str]) -> None:
        named = {**entry, "annotations": {_LOADED_NAME: reference}}
        index = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
        with tarfile.open(fileobj=stream, mode="w|") as archive:
            for name, data in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            for digest in self._blobs(entry):
                # Manifest and configuration are small, and the importer reads them from the stream.
                if digest in present and self._path(digest).stat().st_size > _SMALL:
                    continue
                archive.add(self._path(digest), f"blobs/sha256/{digest.partition(':')[2]}")

    def _blobs(self, entry: dict[str, Any]) -> Iterator[str]:
        yield entry["digest"]
        manifest = json.loads(self._path(entry["digest"]).read_text(encoding="utf-8"))
        yield manifest["config"]["digest"]
        for layer in manifest["layers"]:
            yield layer["digest"]

    def _path(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest.partition(":")[2]


_SMALL: Final = 64 * 1024
