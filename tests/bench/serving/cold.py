"""Cold start: from the start of a pod's first process to the first correct answer.

Images hold the byte code of what they run, so both sides find theirs: the first start of each writes it and is not
counted.
"""

import contextlib
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.bench.serving import report, scikit, servers
from tests.bench.serving.load import running
from tests.bench.serving.options import Options
from tests.bench.serving.programs import Missing
from tests.bench.serving.servers import Maker
from tests.serving.support.versions import Version, publish

LIMIT = 120.0
FORMATS: Mapping[str, tuple[Callable[[Path], Version], Maker, Maker]] = {
    "ONNX": (publish, servers.MAKERS["built-in"], servers.MAKERS["MLServer"]),
    "scikit-learn": (scikit.publish, scikit.MAKERS["built-in"], scikit.MAKERS["MLServer"]),
}


def _seconds(maker: Maker, folder: Path, version: Version, wanted: list[int]) -> float:
    """Seconds until these labels come out; for the built-in server they begin with the init container's fetch."""
    begun = time.monotonic()
    server = maker(folder, version)
    with running(server.command):
        body = server.body(len(wanted))
        while time.monotonic() - begun < LIMIT:
            request = urllib.request.Request(f"http://127.0.0.1:{server.command.port}{server.path}", body, servers.KIND)
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                outputs = json.loads(answer.read())["outputs"]
                if list(outputs[0]["data"]) == wanted:
                    return time.monotonic() - begun
            time.sleep(0.02)
    raise RuntimeError(f"{server.command.argv[0]} gave no correct answer within {LIMIT:g} s")


@contextlib.contextmanager
def _byte_code(folder: Path) -> Iterator[None]:
    """Every program that is started here writes its byte code to this folder, or finds it there."""
    before = dict(os.environ)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def start(options: Options) -> None:
    """Median of at least three starts each, in turns."""
    with tempfile.TemporaryDirectory() as place, _byte_code(Path(place)):
        _start(options)


def _start(options: Options) -> None:
    report.head("Cold start", ["format", "built-in", "MLServer", "ratio"])
    for name, (publisher, *makers) in FORMATS.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            version = publisher(folder / "store")
            rows = json.loads(servers.v2(8))["inputs"][0]["data"]
            wanted = [int(one) for one in version.model.predict([rows[at : at + 4] for at in range(0, 32, 4)])]
            found: list[list[float]] = [[], []]
            try:
                for turn in range(1 + max(3, options.rounds)):
                    for index, maker in enumerate(makers):
                        found[index].append(_seconds(maker, folder / f"{turn}-{index}", version, wanted))
            except Missing as error:
                report.say(f"{name} is left out: {error}")
                continue
            ours, theirs = (report.median(each[1:]) for each in found)
            report.row(name, f"{ours:.2f} s", f"{theirs:.2f} s", f"{ours / theirs:.2f}")
