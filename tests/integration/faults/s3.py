"""A real S3 server (versitygw) that can go away and come back."""

import socket
import subprocess
import time
from pathlib import Path

import obstore
from obstore.store import S3Store

from tests.localcluster import toolchain

ACCESS, SECRET = "gyre", "gyre-secret"
_START = 15.0
"""Seconds that it may take to answer."""


class S3Server:
    """One server on a port of its own, with its objects in a folder."""

    def __init__(self, folder: Path) -> None:
        (folder / "root" / "gyre").mkdir(parents=True)
        (folder / "meta").mkdir()
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The credential as the operator takes it."""
        return {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            *(toolchain.program("versitygw"), "--port", f"127.0.0.1:{self._port}", "--quiet"),
            *("--access", ACCESS, "--secret", SECRET),
            *("posix", "--sidecar", str(self._folder / "meta"), str(self._folder / "root")),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + _START
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"no S3 server answers at {self.endpoint}")

    def stop(self) -> None:
        """End it; the objects stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def put(self, path: str, content: bytes) -> None:
        """Write one object into the bucket."""
        store = S3Store(
            "gyre",
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS,
            secret_access_key=SECRET,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
        obstore.put(store, path, content)
