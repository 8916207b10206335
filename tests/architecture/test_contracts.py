"""The shape of the house, checked by a machine."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gyre_crds import reasons
from gyre_crds.v1alpha1 import KINDS

PLANES = ("crds", "operators", "serving", "monitoring", "pipelines")
CONTROLLERS = ("model", "training", "version", "inference", "drift")


def test_the_import_contracts_hold() -> None:
    """Planes do not import each other, API types import pydantic only, plans are pure."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_every_controller_has_the_same_files(controller: str) -> None:
    """Whoever knows one controller's folder knows all of them."""
    files = {path.name for path in Path(f"operators/gyre_operators/{controller}").glob("*.py")}

    assert {"observe.py", "plan.py", "manifests.py", "controller.py"} <= files


def test_the_top_level_is_as_the_user_fixed_it() -> None:
    """Nothing beside the fixed names, dot-files, LICENSE and CHANGELOG stands at the top."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}

    assert {name for name in top if not name.startswith(".")} == {
        "pyproject.toml", "operators", "crds", "charts", "serving", "monitoring", "pipelines", "tests", "docs",
        "Makefile", "README.md", "LICENSE", "CHANGELOG.md",
    }  # fmt: skip


def test_every_reason_has_a_sentence() -> None:
    """Each reason of the API is explained where it is declared."""
    tree = ast.parse(Path(reasons.__file__).read_text())
    bare = []
    for group in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for entry, after in zip(group.body, [*group.body[1:], None], strict=True):
            if isinstance(entry, ast.Assign) and not (
                isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            ):
                bare.append(f"{group.name}.{ast.unparse(entry.targets[0])}")

    assert bare == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_every_field_says_what_it_is(kind: type) -> None:
    """`kubectl explain` has a sentence for each field of each kind."""
    from gyre_crds.schema import root_schema  # noqa: PLC0415  only this test needs it

    silent: list[str] = []

    def walk(path: str, schema: dict[str, object]) -> None:
        for name, child in dict(schema.get("properties", {})).items():  # type: ignore[call-overload]
            if not child.get("description") and name != "metadata":
                silent.append(f"{path}.{name}")
            walk(f"{path}.{name}", child.get("items", child) if child.get("type") == "array" else child)

    walk(kind.__name__, root_schema(kind))

    assert silent == []


@pytest.mark.parametrize("plane", PLANES)
def test_locks_are_hashed_and_name_no_host(plane: str) -> None:
    """Every locked dependency carries a hash, and no lock records where it was downloaded."""
    text = Path(f"{plane}/requirements.lock").read_text()

    assert "--hash=sha256:" in text
    assert "://" not in text
