"""The router as a process: `gyre-serving router` on free ports."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.serving.support.triton import free_port


@dataclass
class Started:
    """A router process."""

    process: "subprocess.Popen[bytes]"
    url: str
    control: str
    log: Path
    access: Path
    """Its standard output: the access log."""


@contextmanager
def launcher(folder: Path) -> Iterator[Callable[..., Started]]:
    """Starts routers from a table and arguments; they are gone after the block."""
    running: list[subprocess.Popen[bytes]] = []

    def start(table: str, *arguments: str, **environment: str) -> Started:
        file = folder / "table.json"
        file.write_text(table)
        data, control = free_port(), free_port()
        ports = ["--host", "127.0.0.1", "--port", str(data), "--control-port", str(control)]
        command = [sys.executable, "-m", "gyre_serving", "router", "--table", str(file), *ports, *arguments]
        log = folder / f"router-{data}.log"
        access = folder / f"router-{data}.access"
        with log.open("w") as said, access.open("w") as told:
            process = subprocess.Popen(command, env=os.environ | environment, stdout=told, stderr=said)
        running.append(process)
        started = Started(process, f"http://127.0.0.1:{data}", f"http://127.0.0.1:{control}", log, access)
        for _ in range(400):
            if answers(f"{started.control}/readyz"):
                return started
            time.sleep(0.05)
        raise AssertionError(f"the router did not become ready: {log.read_text()[-3000:]}")

    try:
        yield start
    finally:
        for process in running:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    """Whether a GET succeeds just now."""
    try:
        urllib.request.urlopen(url, timeout=1).close()  # noqa: S310  a URL of this file
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
    return True
