"""`gyre-pipelines adopt`: a version that a person registered in MLflow, copied under its own digest.

Nothing is loaded but an ONNX graph: an MLflow model stays a folder of bytes here.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from gyre_crds.contracts import artifact as contract_artifact
from gyre_crds.contracts.attempt import Env
from gyre_crds.contracts.task import AdoptOrder, AdoptReport
from gyre_crds.reasons import Common, Training, Version
from gyre_pipelines import artifact, trees
from gyre_pipelines.failure import Failure
from gyre_pipelines.objects import Store
from gyre_pipelines.signatures import signature_of
from gyre_pipelines.tracking import configure


def run(order: AdoptOrder, environment: Mapping[str, str]) -> AdoptReport:
    """Download, digest, copy.

    Raises:
        Failure: RegistryUnreachable, ArtifactGone, ArtifactMissing, CannotLoad, or of the store.
    """
    store = Store.of(environment)
    server = environment.get(Env.MLFLOW, "")
    if not server:
        raise Failure(
            Common.REGISTRY_UNREACHABLE, f"{Env.MLFLOW.value} is empty; set the MLflow URL in the chart's values"
        )
    with TemporaryDirectory() as scratch:
        downloaded = _download(order, server, store, Path(scratch) / "mlflow")
        found = _model(downloaded, order)
        features = order.contract.features if order.contract else []
        signature = signature_of(found, features, order.contract)
        contents = {contract_artifact.SIGNATURE: signature} if signature else {}
        folder = Path(scratch) / "tree"
        tree = trees.build(folder, found.files, contents)
        uri = trees.copy(store, folder, tree)
    return AdoptReport(
        tree_digest=tree.tree_digest,
        payload_digest=tree.payload_digest,
        uri=uri,
        size=tree.size,
        format=found.format,
        signature=signature,
    )


def _download(order: AdoptOrder, server: str, store: Store, target: Path) -> Path:
    configure()
    import mlflow  # noqa: PLC0415  two seconds of import
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    mlflow.set_tracking_uri(server)
    target.mkdir()
    name = f"models:/{order.name}/{order.version}"
    try:
        source = mlflow.MlflowClient().get_model_version_download_uri(order.name, order.version)
        inside = store.path_of(source.rstrip("/"))
        if inside is not None:
            return _from_store(store, inside, target)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=name, dst_path=str(target)))
    except MlflowException as error:
        raise _refused(order, server, error.error_code, str(error)) from error
    except OSError as error:
        raise Failure(Version.ARTIFACT_GONE, f"MLflow's {name} cannot be read: {error}") from error


def _from_store(store: Store, prefix: str, target: Path) -> Path:
    """Artifacts that lie in the namespace's own store are read with its own credential."""
    for entry in store.list(prefix):
        store.download(entry.path, target / entry.path.removeprefix(prefix + "/"))
    return target


def _refused(order: AdoptOrder, server: str, code: str, text: str) -> Failure:
    first = text.splitlines()[0][:300]
    if code == "RESOURCE_DOES_NOT_EXIST":
        return Failure(Version.ARTIFACT_GONE, f"MLflow has no version {order.version} of {order.name} ({first})")
    return Failure(Common.REGISTRY_UNREACHABLE, f"MLflow at {server} does not answer: {first}", infra=True)


def _model(folder: Path, order: AdoptOrder) -> artifact.Artifact:
    if (folder / "MLmodel").exists():
        return artifact.from_mlflow(folder)
    graphs = sorted(folder.rglob("*.onnx"))
    if len(graphs) == 1:
        return artifact.Artifact("ONNX", {contract_artifact.ONNX: graphs[0]})
    raise Failure(
        Training.ARTIFACT_MISSING,
        f"MLflow's {order.name} version {order.version} is neither an MLflow model nor one ONNX file",
    )
