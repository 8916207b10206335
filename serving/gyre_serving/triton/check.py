"""spec.runtime.options against the version: what the API server cannot know, said before Triton starts."""

from collections.abc import Mapping
from pathlib import Path

from gyre_crds.contracts.artifact import ONNX
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.triton import Control, EnsembleStep, Sequence
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.golden.signature import of_onnx
from gyre_serving.pod.failure import Failure
from gyre_serving.triton.scheduling import CONTROL_TYPES

_FIELD = "spec.runtime.options"


def controls_of(sequence: Sequence | None, signature: Signature, tree: Path) -> dict[str, str]:
    """Datatypes of the inputs that Triton fills.

    Raises:
        Failure: one is no input of the graph, is the client's, or has a type that Triton cannot fill.
    """
    if sequence is None or not sequence.controls:
        return {}
    graph = {tensor.name: tensor.datatype for tensor in of_onnx(tree / ONNX).inputs}
    given = {tensor.name for tensor in signature.inputs}
    return {control.input: _datatype(control, graph, given) for control in sequence.controls}


def _datatype(control: Control, graph: Mapping[str, str], given: set[str]) -> str:
    where = f"{_FIELD}.sequence.controls: {control.input}"
    if control.input not in graph:
        raise _refused(f"{where} is no input of {ONNX}; it has {', '.join(sorted(graph))}")
    if control.input in given:
        raise _refused(f"{where} is an input of the signature; publish the version without it there, Triton fills it")
    datatype = graph[control.input]
    wanted = ("UINT64", "INT64", "UINT32", "INT32", "BYTES") if control.kind == "CorrelationId" else CONTROL_TYPES
    if datatype not in wanted:
        raise _refused(f"{where} has type {datatype}; for {control.kind} export it as one of {', '.join(wanted)}")
    return datatype


def steps_of(steps: list[EnsembleStep], signature: Signature, tree: Path) -> list[Signature]:
    """What each graph of the chain takes and gives.

    Raises:
        Failure: a file, tensor or output is missing; the sentence names the step.
    """
    known = {tensor.name for tensor in signature.inputs}
    found = []
    for index, step in enumerate(steps):
        where = f"{_FIELD}.ensemble[{index}]"
        if not (tree / step.file).is_file():
            have = ", ".join(sorted(path.name for path in tree.glob("*.onnx"))) or "none"
            raise _refused(f"{where}.file: the version holds no {step.file}; its graphs are {have}")
        own = of_onnx(tree / step.file)
        _names(f"{where}.inputs", set(step.inputs), {tensor.name for tensor in own.inputs}, whole=True)
        _names(f"{where}.outputs", set(step.outputs), {tensor.name for tensor in own.outputs}, whole=False)
        lacking = sorted(set(step.inputs.values()) - known)
        if lacking:
            raise _refused(
                f"{where}.inputs: no input of the signature and no earlier step gives {lacking[0]}; "
                f"there are {', '.join(sorted(known))}"
            )
        known |= set(step.outputs.values())
        found.append(own)
    open_ends = [tensor.name for tensor in signature.outputs if tensor.name not in known]
    if open_ends:
        raise _refused(f"{_FIELD}.ensemble: no step gives output {open_ends[0]} of the signature; name it in outputs")
    return found


def _names(where: str, given: set[str], own: set[str], *, whole: bool) -> None:
    wrong = sorted(given - own) or (sorted(own - given) if whole else [])
    if wrong:
        what = "is unknown" if wrong[0] in given else "is missing"
        raise _refused(f"{where}: {wrong[0]} {what}; the graph has {', '.join(sorted(own))}")


def unbatched(field: str) -> Failure:
    """The option needs requests that can be joined."""
    return _refused(
        f"{_FIELD}.{field}: the version's tensors have no free first dimension; export it with one, or leave this out"
    )


def _refused(message: str) -> Failure:
    return Failure(Inference.MODEL_DOES_NOT_LOAD, message)
