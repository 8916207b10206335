"""What gates work with: the store, a folder, and versions as things that predict."""

from dataclasses import dataclass
from pathlib import Path

from gyre_crds.contracts import golden
from gyre_crds.contracts.artifact import GOLDEN, ONNX, SIGNATURE
from gyre_crds.contracts.task import Candidate, GateReport
from gyre_crds.reasons import Training, Version
from gyre_crds.v1alpha1.version import Signature
from gyre_pipelines import trees
from gyre_pipelines.failure import Failure
from gyre_pipelines.objects import Store
from gyre_pipelines.onnx_model import OnnxModel

REFUSED = frozenset({Version.DIGEST_MISMATCH, Version.ARTIFACT_GONE, Training.CANNOT_LOAD})
"""What is wrong with the version itself, and so is the gate's answer and no failure of the gate."""


class NotAGraphError(Exception):
    """A version that predicts by its user's own code, so not here; the message names it."""


@dataclass(frozen=True)
class Loaded:
    """A version that can predict."""

    model: OnnxModel
    signature: Signature
    golden: golden.GoldenRows | None


@dataclass(frozen=True)
class Bench:
    """Where versions are fetched from and unpacked."""

    store: Store
    folder: Path

    def load(self, version: Candidate) -> Loaded:
        """Fetch a version, hold it against its digest and load its graph.

        Raises:
            Failure: one of REFUSED, or of the store.
            NotAGraphError: a version of format MLflow or Python.
        """
        path = self.store.path_of(version.uri)
        if path is None:
            raise Failure(Version.ARTIFACT_GONE, f"{version.uri} is not in the namespace's store {self.store.uri}")
        folder = self.folder / version.digest.removeprefix("sha256:")
        if not folder.exists():
            trees.fetch(self.store, path, version.digest, folder)
        if not (folder / ONNX).exists():
            raise NotAGraphError(
                f"{version.name} is no ONNX graph but code, which never runs beside a credential of Gyre"
            )
        rows = folder / GOLDEN
        return Loaded(
            model=OnnxModel(folder / ONNX),
            signature=_signature(folder / SIGNATURE, version),
            golden=golden.GoldenRows.model_validate_json(rows.read_bytes()) if rows.exists() else None,
        )


def _signature(path: Path, version: Candidate) -> Signature:
    if path.exists():
        return Signature.model_validate_json(path.read_bytes())
    if version.signature is not None:
        return version.signature
    raise Failure(Training.CANNOT_LOAD, f"{version.name} has no signature; set contract.features and train again")


def refused(failure: Failure) -> GateReport:
    """The gate's answer for a version that is at fault itself.

    Raises:
        Failure: the same one, where the surroundings are at fault.
    """
    if failure.reason not in REFUSED:
        raise failure
    return GateReport(state="Failed", reason=failure.reason, message=failure.message)
