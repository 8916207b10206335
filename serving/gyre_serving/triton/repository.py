"""Render a version as a model of Triton's repository."""

import os
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

from gyre_crds.contracts.artifact import MANIFEST, ONNX
from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.triton import TritonOptions
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.failure import Failure
from gyre_serving.triton.check import controls_of, steps_of, unbatched
from gyre_serving.triton.config import Options, batchable, config, ensemble
from gyre_serving.triton.scheduling import step_name

_OWN = "gyre/"


def render(
    order: FetchOrder,
    signature: Signature,
    *,
    tree: Path,
    repository: Path,
    number: int = 1,
    options: Options | None = None,
) -> Path:
    """Lay `<repository>/<name>/{config.pbtxt,<number>/...}` out; other numbers that are there stay served.

    Args:
        order: name upstream and batching.
        signature: what the version takes and gives.
        tree: the verified tree; its files are hard-linked, so that they take no room twice.
        repository: Triton's model repository.
        number: version number upstream.
        options: what does not follow from the version.

    Returns:
        The model's directory.

    Raises:
        Failure: the tree holds no model.onnx.
    """
    asked = order.options or TritonOptions()
    if asked.ensemble:
        return _chain(order, signature, tree, repository, number, options or Options())
    if not (tree / ONNX).is_file():
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"{order.version} holds no {ONNX}; export the model as ONNX or set spec.runtime.kind: Python",
        )
    _joins(asked, signature)
    chosen = replace(options or Options(), controls=controls_of(asked.sequence, signature, tree))
    return _model(order, signature, chosen, tree, repository / order.name / str(number))


def _joins(asked: TritonOptions, signature: Signature) -> None:
    wants = {"queue": asked.queue, "priorities": asked.priorities, "sequence": asked.sequence}
    field = next((name for name, value in wants.items() if value is not None), None)
    if field is not None and not batchable(signature):
        raise unbatched(field)


def _chain(  # noqa: PLR0917  the arguments of render
    order: FetchOrder, signature: Signature, tree: Path, repository: Path, number: int, options: Options
) -> Path:
    """Each graph is a model of its own, and the chain has the name that clients know."""
    asked = order.options or TritonOptions()
    for step, own in zip(asked.ensemble, steps_of(asked.ensemble, signature, tree), strict=True):
        name = step_name(order.name, step)
        alone = order.model_copy(update={"name": name, "options": asked.model_copy(update={"ensemble": []})})
        _model(alone, own, replace(options, graph=step.file), tree, repository / name / str(number))
    model = repository / order.name
    (model / str(number)).mkdir(parents=True, exist_ok=True)
    _replace(model / "config.pbtxt", ensemble(order, signature, _numbers(model)))
    return model


def _model(order: FetchOrder, signature: Signature, options: Options, tree: Path, place: Path) -> Path:
    model, number = place.parent, place.name
    partial = model / f".{number}.partial"
    for stale in (partial, place):
        shutil.rmtree(stale, ignore_errors=True)
    _payload(tree, partial)
    shim = resources.files("gyre_serving.triton").joinpath("shim.py").read_text()
    (partial / "model.py").write_text(shim)
    partial.rename(place)
    _replace(model / "config.pbtxt", config(order, signature, options, _numbers(model)))
    return model


def _payload(tree: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in sorted(tree.rglob("*")):
        relative = path.relative_to(tree).as_posix()
        if path.is_dir() or relative.startswith(_OWN) or relative == MANIFEST:
            continue
        place = target / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, place)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(path, place)


def _numbers(model: Path) -> list[int]:
    return sorted(int(path.name) for path in model.iterdir() if path.is_dir() and path.name.isdigit())


def _replace(path: Path, text: str) -> None:
    # Triton may read at any time: it must never see half a file.
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
