"""`gyre-pipelines <command>`: each takes its order from the environment and leaves one report."""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TypeVar

from pydantic import ValidationError

from gyre_crds.base import ApiModel
from gyre_crds.contracts import task
from gyre_crds.contracts.attempt import AttemptOrder, Env
from gyre_crds.reasons import Common, Training
from gyre_pipelines import termination
from gyre_pipelines.failure import Failure

_M = TypeVar("_M", bound=ApiModel)
_Command = Callable[[Mapping[str, str]], ApiModel]


def _prepare(environment: Mapping[str, str]) -> ApiModel:
    from gyre_pipelines import prepare  # noqa: PLC0415  each command loads only what it needs: seconds matter here

    return prepare.run(_order(AttemptOrder, environment, Env.ATTEMPT), environment)


def _publish(environment: Mapping[str, str]) -> ApiModel:
    from gyre_pipelines import publish  # noqa: PLC0415

    return publish.run(_order(AttemptOrder, environment, Env.ATTEMPT), environment)


def _verify(environment: Mapping[str, str]) -> ApiModel:
    from gyre_pipelines import verify  # noqa: PLC0415

    return verify.run(_order(task.VerifyOrder, environment, task.ENV), environment)


def _adopt(environment: Mapping[str, str]) -> ApiModel:
    from gyre_pipelines import adopt  # noqa: PLC0415

    return adopt.run(_order(task.AdoptOrder, environment, task.ENV), environment)


def _gate(environment: Mapping[str, str]) -> ApiModel:
    from gyre_pipelines import gates  # noqa: PLC0415

    return gates.run(_order(task.GateOrder, environment, task.ENV), environment)


COMMANDS: dict[str, tuple[_Command, str]] = {
    "prepare": (_prepare, "fetch, verify and divide the data of an attempt (order: GYRE_ATTEMPT)"),
    "publish": (_publish, "wait for the training, then digest, copy and report its model (order: GYRE_ATTEMPT)"),
    "verify": (_verify, "digest a stored version again (order: GYRE_TASK)"),
    "adopt": (_adopt, "copy a version registered in MLflow by hand into the store (order: GYRE_TASK)"),
    "gate": (_gate, "evaluate one gate of a version (order: GYRE_TASK)"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its report goes to the termination message, its sentence to stderr."""
    parser = argparse.ArgumentParser(prog="gyre-pipelines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (_, help_text) in COMMANDS.items():
        commands.add_parser(name, help=help_text, description=help_text)
    command = COMMANDS[parser.parse_args(arguments).command][0]
    environment = dict(os.environ)
    # As PID 1 a process without a handler would sleep through the whole grace period of its pod.
    signal.signal(signal.SIGTERM, _stop)
    try:
        report = command(environment)
    except Failure as failure:
        return _end(failure, environment)
    except (OSError, MemoryError, RuntimeError, ValueError, KeyError, TypeError) as error:
        # Whatever slipped through still becomes a sentence on the object. Only the operating system's own words are
        # repeated: other errors may quote rows, which belong in no log and no status.
        traceback.print_tb(error.__traceback__)
        detail = f": {error}" if isinstance(error, OSError) else ""
        name = parser.prog + " " + " ".join(arguments or sys.argv[1:])
        sentence = f"{name} failed with {type(error).__name__}{detail}; the container's log says where"
        return _end(Failure(Training.INTERNAL, sentence, infra=True), environment)
    print(termination.encode(report), flush=True)  # noqa: T201
    termination.write(report, environment)
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Failure(Training.DISRUPTED, "the pod was told to go before the work was done", infra=True)


def _end(failure: Failure, environment: Mapping[str, str]) -> int:
    print(f"{failure.reason}: {failure.message}", file=sys.stderr, flush=True)  # noqa: T201  the container's log
    termination.write(failure.report(), environment)
    return failure.exit_code


def _order(kind: type[_M], environment: Mapping[str, str], variable: str) -> _M:
    try:
        return kind.model_validate_json(environment.get(variable, ""))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Failure(
            Common.INVALID_SPEC,
            f"{variable}{f': {where}' if where else ''}: {first['msg']}; expected {kind.__name__} as JSON",
        ) from error
