"""`python3 -m tests.run`: what runs side by side, what is shown, and what is counted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import run, steps
from tests.steps import SUITES, Step

BUSY, HALF, THIRD = (Step(f"{cores}", "crds", cores=cores) for cores in (1.0, 0.5, 1 / 3))
ALONE = Step("alone", "crds", alone=True)


@pytest.mark.parametrize(
    ("waiting", "running", "next_"),
    [
        pytest.param([BUSY, HALF], [], BUSY, id="an idle machine takes the first"),
        pytest.param([BUSY], [BUSY], BUSY, id="each core takes one that computes"),
        pytest.param([BUSY], [BUSY, HALF], None, id="none that computes where cores are promised"),
        pytest.param([BUSY, HALF], [BUSY, HALF], HALF, id="one that waits goes before one that finds no room"),
        pytest.param([THIRD], [BUSY, THIRD, THIRD], THIRD, id="thirds add up to a core"),
        pytest.param([THIRD], [THIRD] * 5, None, id="not more than memory has room for"),
        pytest.param([ALONE], [THIRD], None, id="nobody beside one alone that waits"),
        pytest.param([THIRD], [ALONE], None, id="nobody beside one alone that runs"),
        pytest.param([], [], None, id="nothing left"),
    ],
)
def test_steps_share_cores(
    waiting: list[Step], running: list[Step], next_: Step | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two cores, what runs side by side computes no more than two cores can."""
    monkeypatch.setattr(run, "CORES", 2)
    assert run.following(waiting, running) is next_


def test_no_two_steps_write_one_report() -> None:
    """Names differ over all suites: reports, logs and caches are named by them."""
    names = [step.name for suite in SUITES.values() for step in suite]
    assert len(names) == len(set(names))


def test_every_file_of_tests_is_run_once() -> None:
    """`make test` has exactly one step that collects each file: none is forgotten, none counts twice."""
    planned = [step for suite in ("verify", "unit", "e2e", "integration") for step in SUITES[suite]]
    runs = {str(path): [step.name for step in planned if _collects(step, str(path))] for path in FILES}
    assert len(runs) > 100
    assert {file: names for file, names in runs.items() if len(names) != 1} == {}


def _collects(step: Step, file: str) -> bool:
    ignored = [test.removeprefix("--ignore=") for test in step.tests if test.startswith("--ignore=")]
    within = [any(file == each or file.startswith(f"{each}/") for each in given) for given in (step.tests, ignored)]
    return within == [True, False]


FILES = sorted(Path("tests").rglob("test_*.py"))
STEPS = {
    "good": Step("good", "operators", cores=0.1),
    "bad": Step("bad", "operators"),
    "patient": Step("patient", "operators", again=True),
    "story": Step("story", "operators", told=True, cores=0.1),
}
PASSES = "def test_one(): print('heard')\n"
SKIPS = "import pytest\n@pytest.mark.skip(reason='why')\ndef test_two(): pass\n"
FAILS = "def test_three(): assert False\n"
FAILS_ONCE = """
def test_four(tmp_path_factory):
    mark = tmp_path_factory.getbasetemp().parent / "mark"
    there = mark.exists()
    mark.touch()
    assert there
"""


DIES = """
import os, sys
def test_five():
    sys.stdout.buffer.write(b"half \\xd0")
    sys.stdout.flush()
    os.kill(os.getpid(), 9)
"""
HANGS = """
import time
def test_six(request):
    with open(request.config.option.xmlpath, "w") as report:
        report.write("<testsuites><testsuite tests=")
    time.sleep(30)
"""


@pytest.fixture
def ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run steps on files of the given content, results in a folder of their own; exit status and what was said."""
    for module in (run, steps):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    # Starting pytest is most of the time; none of these tests needs a plugin.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def go(**contents: str) -> tuple[int, str]:
        made = []
        for name, content in contents.items():
            folder = tmp_path / name
            (folder / "base").mkdir(parents=True)
            (folder / f"test_{name}.py").write_text(content)
            own = ("-s", f"--basetemp={folder}/base/now", f"--rootdir={folder}", "-c/dev/null")
            made.append(replace(STEPS[name], tests=(*own, str(folder))))
        monkeypatch.setattr(run, "SUITES", {"own": made})
        return run.main(["own"]), capsys.readouterr().out

    return go


def test_everything_is_counted_once(ran: Callable[..., tuple[int, str]]) -> None:
    """Passed, failed and skipped add up over the steps; a failure is the exit status and names its step."""
    status, said = ran(good=PASSES + SKIPS, bad=FAILS)
    assert status == 1
    assert said.endswith("failed: bad\n1 passed, 1 failed, 1 skipped\n")


def test_step_that_dies_is_a_failure(ran: Callable[..., tuple[int, str]]) -> None:
    """A step that a signal ends counts as one, beside failures of others too, and what it wrote last is shown."""
    status, said = ran(good=PASSES, bad=FAILS, patient=DIES)
    assert status == 1
    assert "half \N{REPLACEMENT CHARACTER}" in said
    assert said.endswith("1 passed, 2 failed, 0 skipped\n")


def test_step_without_time_is_a_failure(ran: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the time limit ends is said and counted; half a report counts nothing, and ends nothing."""
    monkeypatch.setattr(run, "LIMIT", 3)
    status, said = ran(patient=HANGS)
    assert status == 1
    assert "patient: cut off after 3 s" in said
    assert said.endswith("failed: patient\n0 passed, 1 failed, 0 skipped\n")


def test_what_passes_only_when_tried_again_is_said(ran: Callable[..., tuple[int, str]]) -> None:
    """With `again` one more try decides, and the first one's failures are named; without it they stay."""
    status, said = ran(patient=FAILS_ONCE + PASSES)
    assert status == 0, said
    assert "patient: 1 passed only when tried again\n" in said
    assert said.endswith("2 passed, 0 failed, 0 skipped\n")


def test_told_lines_bear_the_name(ran: Callable[..., tuple[int, str]]) -> None:
    """A told step's lines come with its name, as others speak in between; the others' come at their end."""
    _, said = ran(story=PASSES, good=PASSES)
    assert "story | heard" in said
    assert "\nheard" in said.partition("--- [2/2] good")[2]
