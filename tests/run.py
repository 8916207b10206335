"""Run suites, each in its own environment, with progress, and count what ran.

`python3 -m tests.run verify unit integration e2e`; plain standard library, started by `make`.
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / ".gyre" / "results"
PLANES = ("crds", "operators", "serving", "monitoring", "pipelines")
PATH = os.pathsep.join(PLANES)
LIMIT = 1800
"""Seconds after which one step counts as hung."""
LANES = max(1, min(4, os.cpu_count() or 1))
"""Steps that run side by side: many wait for a server more than they compute."""
STILL = 60
"""Seconds between two lines that say what still runs: a silent run looks hung."""


@dataclass(frozen=True)
class Step:
    """One command. A step with `tests` runs pytest on them in the plane's environment."""

    name: str
    plane: str
    command: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    again: bool = False
    """Tests against real servers: those that failed are tried once more, and that is said. Never for unit tests."""
    alone: bool = False
    """It needs the machine for itself: nothing runs beside it, and its output is shown while it comes."""

    @property
    def log(self) -> Path:
        """Where its output waits until the step has ended."""
        return self.report.with_suffix(".log")

    @property
    def report(self) -> Path:
        """Where pytest writes its results."""
        return RESULTS / f"{self.name.replace(' ', '-')}.xml"

    def argv(self, *options: str) -> list[str]:
        """The whole command line."""
        python = f".venvs/{self.plane}/bin/python"
        if not self.tests:
            return [python, *self.command]
        # A cache of its own: steps side by side would forget each other's failures.
        own = ["-o", f"cache_dir={self.report.with_suffix('.cache')}", f"--junit-xml={self.report}"]
        return [python, "-m", "pytest", "-q", "--durations=3", *own, *options, *self.tests]


def _types(plane: str) -> Step:
    package = f"gyre_{plane}"
    # A cache of its own: mypy breaks when two runs side by side write one.
    cache = f"--cache-dir=.mypy_cache/{plane}"
    return Step(f"types {plane}", plane, ("-m", "mypy", cache, f"{plane}/{package}", f"tests/{plane}"))


ALERTS: Final = "tests/monitoring/test_alertmanager.py"
"""Real Prometheus and Alertmanager: what is said depends on waits."""

SUITES: Mapping[str, Sequence[Step]] = {
    "verify": (
        Step("lint", "crds", ("-m", "ruff", "check", ".")),
        Step("format", "crds", ("-m", "ruff", "format", "--check", ".")),
        *map(_types, PLANES),
        Step(
            "import contracts", "operators", ("-c", "from importlinter.cli import lint_imports_command as run; run()")
        ),
        Step("generated types", "crds", ("-m", "gyre_crds", "check")),
        Step("generated roles", "operators", ("-m", "gyre_operators.rbac", "check")),
    ),
    "unit": (
        Step("unit crds", "crds", tests=("tests/crds",)),
        Step("unit operators", "operators", tests=("tests/operators", "--ignore=tests/operators/mlflow")),
        Step("unit monitoring", "monitoring", tests=("tests/monitoring", f"--ignore={ALERTS}")),
        Step("unit architecture", "operators", tests=("tests/architecture",)),
        Step("unit charts", "operators", tests=("tests/charts",)),
    ),
    # Real API servers, MLflow, S3 server, Triton, routers and training attempts: minutes, not seconds.
    "integration": (
        Step("serving", "serving", tests=("tests/serving",), again=True),
        Step("integration engine", "operators", tests=("tests/integration/engine",), again=True),
        Step("pipelines", "pipelines", tests=("tests/pipelines",), again=True),
        Step("localcluster", "operators", tests=("tests/localcluster/tests",), again=True),
        Step("integration crds", "crds", tests=("tests/integration/crds",), again=True),
        Step("integration loop", "operators", tests=("tests/integration/loop",), again=True),
        Step("integration argo", "operators", tests=("tests/integration/argo",), again=True),
        Step("integration charts", "operators", tests=("tests/integration/charts",), again=True),
        Step("integration faults", "operators", tests=("tests/integration/faults",), again=True),
        Step("integration policies", "operators", tests=("tests/integration/policies",), again=True),
        Step("integration training", "operators", tests=("tests/integration/training",), again=True),
        Step("integration alerts", "monitoring", tests=(ALERTS,), again=True),
        Step("integration mlflow", "operators", tests=("tests/operators/mlflow",), again=True),
        Step("integration node", "operators", tests=("tests/localcluster/tests_node",), again=True, alone=True),
    ),
    # The story is told while it happens: it takes minutes, and a silent run looks hung.
    "e2e": (Step("e2e", "pipelines", tests=("-s", "tests/e2e"), again=True, alone=True),),
    "bench": (
        Step("bench canary", "operators", ("-m", "tests.bench.canary"), alone=True),
        Step("bench controller", "operators", ("-m", "tests.bench.controller"), alone=True),
        Step("bench serving", "serving", ("-m", "tests.bench.serving"), alone=True),
        Step("bench drift", "monitoring", ("-m", "tests.bench.drift"), alone=True),
        Step("bench retraining", "monitoring", ("-m", "tests.bench.retraining"), alone=True),
    ),
}


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
    for alone, group in groupby(steps, key=lambda step: step.alone):
        batch = list(group)
        with ThreadPoolExecutor(1 if alone else LANES) as pool:
            running = {pool.submit(_run, step, names[step.name]): step for step in batch}
            while running:
                done, _ = wait(running, timeout=STILL, return_when="FIRST_COMPLETED")
                yield from ((running.pop(future), future.result()) for future in done)
                if not done and not alone:
                    _say("... " + ", ".join(step.name for future, step in running.items() if future.running()))


def _run(step: Step, name: str) -> bool:
    start = time.monotonic()
    _say(name)
    ok = _call(step, name)
    if not ok and step.again and step.report.exists():
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
    environment = {**os.environ, "PYTHONPATH": PATH}
    with step.log.open("w+", encoding="utf-8") as log:
        output = None if step.alone else log
        try:
            done = subprocess.run(
                step.argv(*options),
                cwd=ROOT,
                env=environment,
                check=False,
                timeout=LIMIT,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
            )
        except subprocess.TimeoutExpired:
            _say(f"{name}: cut off after {LIMIT} s")
            return False
        finally:
            log.seek(0)
            if said := log.read().rstrip():
                _say(f"--- {name}\n{said}")
    return done.returncode == 0


def _failures(report: Path) -> int:
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314  written by pytest a moment ago
    return sum(int(suite.get(key, 0)) for suite in suites for key in ("failures", "errors"))


def _forgiven(report: Path) -> Path:
    """The report with its failures counted as passed: they passed when tried again."""
    tree = ET.parse(report)  # noqa: S314  written by pytest a moment ago
    for suite in tree.getroot().iter("testsuite"):
        suite.set("failures", "0")
        suite.set("errors", "0")
    tree.write(report)
    return report


def _close(failed: Sequence[Step]) -> int:
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for report in RESULTS.glob("*.xml"):
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314  written by pytest a moment ago
            for key in counts:
                counts[key] += int(suite.get(key, 0))
    bad = counts["failures"] + counts["errors"]
    # A check that failed without a test to its name still counts as one failure.
    bad += sum(1 for step in failed if not step.tests)
    if failed and not bad:
        bad = len(failed)
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    for step in failed:
        _say(f"failed: {step.name}")
    _say(f"{passed} passed, {bad} failed, {counts['skipped']} skipped")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
