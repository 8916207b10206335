"""The pod's order and its places on disk."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from gyre_crds.contracts import serving
from gyre_crds.contracts.artifact import GOLDEN, SIGNATURE
from gyre_crds.contracts.golden import GoldenRows
from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.reasons import Common, Inference
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.failure import Failure

_Kind = TypeVar("_Kind", Signature, GoldenRows)

ROOT_ENV = "GYRE_MODEL_ROOT"
UPSTREAM_VERSION = "1"
"""Every pod serves one version, and its number upstream is always this one."""


@dataclass(frozen=True)
class Places:
    """Directories of the volume that the pod's containers share."""

    root: Path

    @property
    def tree(self) -> Path:
        """The verified tree."""
        return self.root / "tree"

    @property
    def repository(self) -> Path:
        """Triton's model repository."""
        return self.root / "repository"

    @property
    def key(self) -> Path:
        """The secret that opens Triton's administrative APIs to the agent of the same pod."""
        return self.root / "triton.key"


def places() -> Places:
    """The volume at `GYRE_MODEL_ROOT`, /models in a pod."""
    return Places(Path(os.environ.get(ROOT_ENV, serving.MODEL_ROOT)))


def order() -> FetchOrder:
    """The order in `GYRE_FETCH`.

    Raises:
        Failure: it is missing or does not parse.
    """
    text = os.environ.get(serving.ENV)
    if not text:
        raise Failure(
            Common.INVALID_SPEC,
            f"environment variable {serving.ENV} is empty; it holds the FetchOrder as JSON",
        )
    try:
        return FetchOrder.model_validate_json(text)
    except ValidationError as error:
        raise Failure(Common.INVALID_SPEC, f"{serving.ENV}: {_first(error)}") from error


def signature(tree: Path) -> Signature | None:
    """The signature that travels in the tree, None where the version has none."""
    return _read(tree / SIGNATURE, Signature)


def golden_rows(tree: Path) -> GoldenRows | None:
    """The golden rows that travel in the tree, None where the version has none."""
    return _read(tree / GOLDEN, GoldenRows)


def _read(path: Path, kind: type[_Kind]) -> _Kind | None:
    if not path.exists():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        name = path.relative_to(path.parents[1])
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"{name} of the version does not parse: {_first(error)}; publish the version again",
        ) from error


def _first(error: ValidationError) -> str:
    """The first finding of a validation as `field: what is wrong`."""
    finding = error.errors(include_url=False)[0]
    where = ".".join(map(str, finding["loc"]))
    return f"{where}: {finding['msg']}" if where else str(finding["msg"])
