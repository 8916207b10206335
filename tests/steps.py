"""What `make test` consists of: the steps of each suite, and what each needs of the machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / ".gyre" / "results"
PLANES = ("crds", "operators", "serving", "monitoring", "pipelines")


@dataclass(frozen=True)
class Step:
    """One command. A step with `tests` runs pytest on them in the plane's environment."""

    name: str
    plane: str
    command: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    again: bool = False
    """Tests against real servers: those that failed are tried once more, and that is said. Never for unit tests."""
    cores: float = 1.0
    """What it computes on average, in cores; the rest of its time it waits, and others may compute."""
    told: bool = False
    """Its output is shown while it comes: it takes minutes, and a silent run looks hung."""
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


def _real(name: str, plane: str, cores: float, *tests: str) -> Step:
    """Tests against real servers."""
    return Step(name, plane, tests=tests, again=True, cores=cores)


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
    # Real API servers, MLflow, S3 server, Triton, routers and training attempts: minutes, not seconds. The longest
    # come first, so that no long one is left for the end.
    "integration": (
        _real("serving router", "serving", 0.5, "tests/serving/router"),
        _real("serving servers", "serving", 0.5, "tests/serving/fetch", "tests/serving/server", "tests/serving/triton"),
        _real("integration engine", "operators", 0.4, "tests/integration/engine"),
        _real("integration faults", "operators", 0.8, "tests/integration/faults"),
        _real("pipelines", "pipelines", 0.9, "tests/pipelines"),
        _real("integration loop", "operators", 0.8, "tests/integration/loop"),
        _real("integration training", "operators", 0.8, "tests/integration/training"),
        _real("integration mlflow", "operators", 0.8, "tests/operators/mlflow"),
        _real("localcluster", "operators", 0.8, "tests/localcluster/tests"),
        _real("integration alerts", "monitoring", 0.3, ALERTS),
        _real("integration crds", "crds", 0.8, "tests/integration/crds"),
        _real("integration policies", "operators", 0.8, "tests/integration/policies"),
        _real("integration argo", "operators", 0.8, "tests/integration/argo"),
        _real("integration charts", "operators", 0.8, "tests/integration/charts"),
        # It looks for traces of its node on the whole machine.
        Step("integration node", "operators", tests=("tests/localcluster/tests_node",), again=True, alone=True),
    ),
    # A story that waits for its windows and rollouts: six tenths of a core with the node and all its pods, and bursts.
    "e2e": (Step("e2e", "pipelines", tests=("-s", "tests/e2e"), again=True, told=True, cores=0.7),),
    "bench": (
        Step("bench canary", "operators", ("-m", "tests.bench.canary"), alone=True),
        Step("bench controller", "operators", ("-m", "tests.bench.controller"), alone=True),
        Step("bench serving", "serving", ("-m", "tests.bench.serving"), alone=True),
        Step("bench drift", "monitoring", ("-m", "tests.bench.drift"), alone=True),
        Step("bench retraining", "monitoring", ("-m", "tests.bench.retraining"), alone=True),
    ),
}
