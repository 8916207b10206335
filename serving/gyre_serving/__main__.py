"""`gyre-serving <command>`: one entry point, and only the named command's modules are imported."""

import gc
import importlib
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Command(NamedTuple):
    """A subcommand: the module whose `main(arguments) -> exit code` runs it, and what it is for."""

    module: str
    purpose: str


COMMANDS = {
    "router": Command("gyre_serving.router.main", "route requests to model versions by a table"),
    "serve": Command("gyre_serving.server.main", "serve one model version over the Open Inference Protocol"),
    "fetch": Command("gyre_serving.fetch.main", "fetch and verify a model version into the pod"),
    "agent": Command("gyre_serving.agent.main", "load a version into Triton and prove that it answers"),
}


def _usage() -> str:
    lines = [f"  {name:<8} {command.purpose}" for name, command in COMMANDS.items()]
    return "usage: gyre-serving <command> [options]\n\n" + "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the named command with the rest of the arguments; 2 when there is no such command."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in {"-h", "--help"}:
        sys.stdout.write(_usage())
        return 0 if given else 2
    command = COMMANDS.get(given[0])
    if command is None:
        sys.stderr.write(f"gyre-serving: no command {given[0]!r}; choose one of {', '.join(COMMANDS)}\n")
        return 2
    gc.disable()  # imports make no garbage worth looking for
    run: Callable[[list[str]], int] = importlib.import_module(command.module).main
    gc.enable()
    gc.freeze()  # nor does what they made ever become some
    return run(given[1:])


if __name__ == "__main__":
    sys.exit(main())
