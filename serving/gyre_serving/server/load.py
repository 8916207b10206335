"""Bring a version to the point where it answers as at training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gyre_crds.contracts import artifact
from gyre_crds.contracts.artifact import MANIFEST, ArtifactError, TreeManifest
from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.reasons import Inference, Version
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.failure import Failure
from gyre_serving.pod.http import Request
from gyre_serving.server.app import App
from gyre_serving.server.protocol import HEADER_LENGTH
from gyre_serving.server.wire import to_binary

Array = NDArray[Any]


def verify(order: FetchOrder, tree: Path) -> None:
    """Nothing of a tree runs unless it is the version's, byte by byte, here and now.

    Raises:
        Failure: DigestMismatch naming the file, or that there is no tree.
    """
    try:
        found = artifact.scan(tree)
    except (ArtifactError, OSError) as error:
        raise Failure(
            Version.DIGEST_MISMATCH, f"{tree} holds no version ({error}); run `gyre-serving fetch` first"
        ) from error
    if found.tree_digest != order.digest:
        raise Failure(
            Version.DIGEST_MISMATCH,
            f"{_difference(tree, found)}; {tree} is not {order.version}, let `gyre-serving fetch` bring it again",
        )


def _difference(tree: Path, found: TreeManifest) -> str:
    try:
        wanted = TreeManifest.model_validate_json((tree / MANIFEST).read_bytes())
    except (OSError, ValueError):
        wanted = found
    return artifact.first_difference(wanted, found) or f"the tree has digest {found.tree_digest}"


async def ask(app: App, signature: Signature, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Ask as any client would: the bytes of a request in, the bytes of an answer out.

    Raises:
        Failure: the version cannot answer, with its sentence.
    """
    blobs = {t.name: to_binary(inputs[t.name], t.datatype) for t in signature.inputs}
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": tensor.name,
                    "datatype": tensor.datatype,
                    "shape": list(inputs[tensor.name].shape),
                    "parameters": {"binary_data_size": len(blobs[tensor.name])},
                }
                for tensor in signature.inputs
            ]
        }
    )
    body = head + b"".join(blobs.values())
    answer = await app.infer(Request("POST", "/", {HEADER_LENGTH: str(len(head))}, body))
    said = orjson.loads(answer.body)
    if answer.status != 200:  # noqa: PLR2004
        raise Failure(Inference.MODEL_DOES_NOT_LOAD, f"the version cannot answer its golden rows: {said['error']}")
    return {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in said["outputs"]}
