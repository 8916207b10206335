"""`gyre-monitoring`: profile, look, stream, explain, ingest. With GYRE_TASK set, a Job's task and no argument."""

import argparse
import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import get_terminal_size

from gyre_monitoring.errors import InputError, StoreError

_WRONG_USAGE = 2
_TASKS = frozenset({"profile", "look"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 whenever a report was made (the verdict is in it), 2 with one sentence for wrong usage; as a task,
        the codes of `gyre_crds.contracts.attempt`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in _TASKS and len(given) == 1:
        with _loading():
            from gyre_crds.contracts.task import ENV  # noqa: PLC0415  explain starts without them
            from gyre_monitoring import task  # noqa: PLC0415

        if order := os.environ.get(ENV):
            return task.run(given[0], order)
    options = _parser().parse_args(given)
    try:
        return int(options.run(options) or 0)
    except (InputError, StoreError) as error:
        sys.stderr.write(f"gyre-monitoring: {error}\n")
        return _WRONG_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gyre-monitoring", description="Drift profiles, looks and their reports.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("profile", help="make the drift profile of reference rows")
    one.add_argument("--data", type=Path, required=True, nargs="+", help="Parquet files or directories")
    one.add_argument("--config", type=Path, help="monitor.yaml")
    one.add_argument("--out", type=Path, required=True, help="profile.json to write")
    one.set_defaults(run=_profile)

    two = commands.add_parser("look", help="compare a window with the reference and give a verdict")
    two.add_argument("--profile", type=Path, required=True, help="profile.json, or reference Parquet")
    two.add_argument("--current", type=Path, required=True, nargs="+", help="Parquet files or directories")
    two.add_argument("--labels", type=Path, help="Parquet with the label and the key or request id")
    two.add_argument("--history", type=Path, help="directory of earlier report.json files")
    two.add_argument("--config", type=Path, help="monitor.yaml")
    two.add_argument("--monitor", default="local", help="name in the report")
    two.add_argument("--start", help="first instant of the window, RFC 3339")
    two.add_argument("--end", help="first instant after it")
    two.add_argument("--out", type=Path, required=True, help="report.json to write")
    two.add_argument("--html", type=Path, help="page to write")
    two.add_argument("--engine", choices=["native", "evidently", "both"], help="evidently: add its page beside --out")
    two.set_defaults(run=_look)

    _stream_parser(commands.add_parser("stream", help="tell changes while payload parts come in"))

    three = commands.add_parser("explain", help="print a report for a person")
    three.add_argument("report", type=Path)
    three.set_defaults(run=_explain)

    four = commands.add_parser("ingest", help="turn an Evidently JSON report into one of ours")
    four.add_argument("report", type=Path)
    four.add_argument("--service", required=True, help="InferenceService it speaks of")
    four.add_argument("--start", required=True, help="first instant of its window, RFC 3339")
    four.add_argument("--end", required=True, help="first instant after it")
    four.add_argument("--rows", type=int, default=0, help="rows of its window")
    four.add_argument("--out", type=Path, help="report.json to write; standard output otherwise")
    four.set_defaults(run=_ingest)
    return parser


def _stream_parser(stream: argparse.ArgumentParser) -> None:
    stream.add_argument("--profile", type=Path, required=True, help="profile.json, or reference Parquet")
    stream.add_argument("--current", required=True, help="directory or store URI of Parquet parts, read by name")
    stream.add_argument("--config", type=Path, help="monitor.yaml")
    stream.add_argument("--follow", action="store_true", help="wait for further parts until interrupted")
    stream.add_argument("--every", type=float, default=10.0, help="seconds between two looks for parts")
    stream.add_argument("--out", type=Path, help="file that gets one JSON line a change")
    stream.add_argument(
        "--state", help="file or store URI that keeps where the stream is; OUT.state.json if it follows"
    )
    stream.add_argument("--metrics-port", type=int, help="answer Prometheus on this port")
    stream.set_defaults(run=_stream)


@contextmanager
def _loading() -> Iterator[None]:
    """What a command loads stays to its end: the collector would only go through it again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _profile(options: argparse.Namespace) -> None:
    with _loading():
        from gyre_monitoring import local  # noqa: PLC0415  each command loads only what it needs

    local.profile(options.data, options.config, options.out)


def _look(options: argparse.Namespace) -> None:
    with _loading():
        from gyre_monitoring import local  # noqa: PLC0415  each command loads only what it needs

    local.look(options)


def _stream(options: argparse.Namespace) -> None:
    from gyre_monitoring import following  # noqa: PLC0415  each command loads only what it needs

    following.run(options)


def _explain(options: argparse.Namespace) -> None:
    from gyre_monitoring.explain import text  # noqa: PLC0415  each command loads only what it needs

    # A terminal breaks lines within words; a file or another program gets each sentence whole.
    width = min(get_terminal_size().columns, 100) if sys.stdout.isatty() else None
    sys.stdout.write(text(_json(options.report), width))


def _ingest(options: argparse.Namespace) -> None:
    from gyre_monitoring import ingest  # noqa: PLC0415  each command loads only what it needs

    made = ingest.report(
        _json(options.report), service=options.service, start=options.start, end=options.end, rows=options.rows
    )
    content = json.dumps(made.dump(), indent=1)
    if options.out is None:
        sys.stdout.write(content + "\n")
    else:
        options.out.write_text(content, encoding="utf-8")


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
