"""Run suites, each in its own environment, with progress, and count what ran.

`python3 -m tests.run verify unit e2e integration`; plain standard library, started by `make`.
"""

import os
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import groupby
from pathlib import Path
from typing import IO, Final

from tests.steps import PLANES, RESULTS, ROOT, SUITES, Step

LIMIT = 1800
"""Seconds after which one step counts as hung."""
CORES = os.cpu_count() or 1
LANES = 5
"""Steps that run side by side at most: each has servers that want memory."""
STILL = 60
"""Seconds between two lines that say what still runs: a silent run looks hung."""
COUNTED: Final = ("tests", "failures", "errors", "skipped")
"""By pytest, in its report."""
ENVIRONMENT: Final = {"PYTHONPATH": os.pathsep.join(PLANES)}


def main(suites: Sequence[str]) -> int:
    """Run the suites in order; every step runs, whatever an earlier one did."""
    unknown = [suite for suite in suites if suite not in SUITES]
    if unknown or not suites:
        sys.stderr.write(f"usage: python3 -m tests.run SUITE..., with SUITE one of {', '.join(SUITES)}\n")
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    for old in RESULTS.glob("*.xml"):
        old.unlink()
    steps = [step for suite in suites for step in SUITES[suite]]
    names = {step.name: f"[{number}/{len(steps)}] {step.name}" for number, step in enumerate(steps, 1)}
    return _close([step for step, ok in _all(steps, names) if not ok])


def _all(steps: Sequence[Step], names: Mapping[str, str]) -> Iterator[tuple[Step, bool]]:
    for _, group in groupby(steps, key=lambda step: step.alone):
        yield from _side_by_side(list(group), names)


def _side_by_side(waiting: list[Step], names: Mapping[str, str]) -> Iterator[tuple[Step, bool]]:
    running: dict[Future[bool], Step] = {}
    with ThreadPoolExecutor(LANES) as pool:
        while waiting or running:
            while step := following(waiting, list(running.values())):
                waiting.remove(step)
                running[pool.submit(_run, step, names[step.name])] = step
            done, _ = wait(running, timeout=STILL, return_when="FIRST_COMPLETED")
            yield from ((running.pop(future), future.result()) for future in done)
            if not done and not any(step.told or step.alone for step in running.values()):
                _say("... " + ", ".join(step.name for step in running.values()))


def following(waiting: Sequence[Step], running: Sequence[Step]) -> Step | None:
    """The first step for which there is room beside those that run; None where there is none.

    Together they compute no more than the machine can, so that nobody's deadline passes for want of a core.
    """
    if not running:
        return next(iter(waiting), None)
    if len(running) >= LANES or any(step.alone for step in running):
        return None
    free = CORES - sum(step.cores for step in running)
    return next((step for step in waiting if step.cores <= free + 1e-9 and not step.alone), None)


def _run(step: Step, name: str) -> bool:
    start = time.monotonic()
    _say(name)
    ok = _call(step, name)
    if not ok and step.again and _failures(step.report):
        _say(f"{name}: what failed is tried once more")
        first = step.report.rename(step.report.with_suffix(".first"))
        ok = _call(step, name, "--last-failed", "--last-failed-no-failures=none")
        if ok:
            _say(f"{name}: {_failures(first)} passed only when tried again")
        step.report.unlink(missing_ok=True)
        (first if not ok else _forgiven(first)).rename(step.report)
    _say(f"{name}: {'ok' if ok else 'FAILED'} in {time.monotonic() - start:.0f} s")
    return ok


def _call(step: Step, name: str, *options: str) -> bool:
    if step.alone:
        return _ends(step, name, None, *options)
    if step.told:
        return _tells(step, name, *options)
    # Who dies while it writes may leave half a character.
    with step.log.open("w+", encoding="utf-8", errors="replace") as log:
        try:
            return _ends(step, name, log, *options)
        finally:
            log.seek(0)
            if said := log.read().rstrip():
                _say(f"--- {name}\n{said}")


def _tells(step: Step, name: str, *options: str) -> bool:
    """Each line is shown when it comes, with the step's name: others speak in between."""
    ours, theirs = os.pipe()

    def repeat() -> None:
        with os.fdopen(ours, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                _say(f"{step.name} | {line.rstrip()}")

    teller = threading.Thread(target=repeat, daemon=True)
    teller.start()
    try:
        with os.fdopen(theirs, "w") as output:
            return _ends(step, name, output, *options)
    finally:
        teller.join(STILL)


def _ends(step: Step, name: str, output: IO[str] | None, *options: str) -> bool:
    """Whether the command ends well; it writes to `output`, or where we write."""
    try:
        done = subprocess.run(
            step.argv(*options),
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT},
            check=False,
            timeout=LIMIT,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
        )
    except subprocess.TimeoutExpired:
        _say(f"{name}: cut off after {LIMIT} s")
        return False
    return done.returncode == 0


def _failures(report: Path) -> int:
    counted = _counts(report)
    return counted["failures"] + counted["errors"]


def _counts(report: Path) -> Counter[str]:
    """What pytest counted; nothing where it died before it had written that."""
    try:
        suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314  written by pytest a moment ago
    except (OSError, ET.ParseError):
        return Counter()
    return Counter({key: sum(int(suite.get(key, 0)) for suite in suites) for key in COUNTED})


def _forgiven(report: Path) -> Path:
    """The report with its failures counted as passed: they passed when tried again."""
    tree = ET.parse(report)  # noqa: S314  written by pytest a moment ago
    for suite in tree.getroot().iter("testsuite"):
        suite.set("failures", "0")
        suite.set("errors", "0")
    tree.write(report)
    return report


def _close(failed: Sequence[Step]) -> int:
    counts = sum(map(_counts, RESULTS.glob("*.xml")), Counter[str]())
    bad = counts["failures"] + counts["errors"]
    passed = counts["tests"] - bad - counts["skipped"]
    # A step that failed without a test to its name counts as one failure: a check, or one that died.
    bad += sum(1 for step in failed if not _failures(step.report))
    for step in failed:
        _say(f"failed: {step.name}")
    _say(f"{passed} passed, {bad} failed, {counts['skipped']} skipped")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
