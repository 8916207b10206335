"""What a router's process asks of its interpreter, seen in what its loop gets done."""

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import asyncio, sys, threading, time
import uvloop
from gyre_serving.router.tuning import tune

async def turns(seconds):
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(0.001)
        count += 1
    return count

async def main():
    done = threading.Event()
    threading.Thread(target=lambda: [None for _ in iter(done.is_set, True)], daemon=True).start()
    default = sys.getswitchinterval()
    tune()
    counted = {default: 0, sys.getswitchinterval(): 0}
    for _ in range(6):
        for interval in counted:
            sys.setswitchinterval(interval)
            counted[interval] += await turns(0.1)
    done.set()
    print(*counted.values())

uvloop.run(main())
"""


def test_loop_has_its_turn_while_a_thread_computes() -> None:
    """While a thread keeps computing, like that of the payload log, the loop wakes more often than by default."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    default, tuned = map(int, done.stdout.split())
    assert tuned > 1.1 * default


async def test_nothing_takes_the_interval_back(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked of the interpreter before the start holds in the router that runs."""
    asked: list[float] = []
    monkeypatch.setattr(sys, "setswitchinterval", asked.append)
    await start(kit.table(kit.route(await models())))
    assert asked == []


FIRST_PART = """
import sys
import pyarrow as pa
from gyre_serving.router.tuning import tune

tune()
pa.array([1.0])
print("pandas" in sys.modules)
"""


def test_first_part_waits_for_no_import() -> None:
    """Arrow finds no pandas in a router's process: with it the first part came seconds late, or never at its end."""
    assert importlib.util.find_spec("pandas") is not None, "without pandas this test shows nothing"
    done = subprocess.run([sys.executable, "-c", FIRST_PART], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
