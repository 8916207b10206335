"""The guide's commands are run as they stand there, and what it says of their output is what they say."""

import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest

from gyre_monitoring.cli import main
from gyre_monitoring.stats.methods import FLOORS
from gyre_monitoring.stats.mmd import FLOOR as MMD

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "drift"
GUIDE = ROOT / "docs" / "guides" / "drift.md"


def plain(text: str) -> str:
    """The text in one line."""
    return " ".join(text.split())


def commands(text: str) -> list[list[str]]:
    """The example's commands, those in backticks too."""
    shown = re.findall(r"^    (gyre-monitoring [^\\\n]*(?:\\\n.*)?)", text, flags=re.MULTILINE)
    shown += [plain(one) for one in re.findall(r"`(gyre-monitoring stream [^`]*)`", text)]
    return [shlex.split(one.replace("\\\n", " "))[1:] for one in shown]


def test_the_example_says_what_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Profile, look, explain and stream in an empty directory: the quoted sentences come out, with their numbers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["loans.py"])
    shutil.copy(EXAMPLE / "monitor.yaml", tmp_path)
    runpy.run_path(str(EXAMPLE / "loans.py"), run_name="__main__")
    text = GUIDE.read_text(encoding="utf-8")
    given = commands(text)
    assert [one[0] for one in given] == ["profile", "look", "explain", "stream"]
    for one in given:
        assert main(one) == 0
    said, told = plain(capsys.readouterr().out), plain(text)
    quoted = [plain(one) for one in re.findall(r"(?:^    (?!gyre|pip|python|cd|    ).*\n)+", text, flags=re.MULTILINE)]
    quoted.append(re.findall(r'example\'s says "([^"]*)"', told)[0])
    assert len(quoted) == 3
    for sentence in quoted:
        assert sentence in said
    assert "segment country=BE: wage moved (PSI 0.939)" in said
    assert "of 0.94 in Belgium" in told


def test_the_guide_names_every_method_with_its_floor() -> None:
    """The table of methods is the code's."""
    rows = re.findall(r"^  \| ([A-Za-z, ]+) \| [^|]* \| ([\d., ]+) \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    floors = {
        name: float(floor)
        for names, values in rows
        for name, floor in zip(names.split(", "), values.split(", "), strict=True)
    }
    assert floors == FLOORS | {"MMD": MMD}
