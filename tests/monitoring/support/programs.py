"""Programs of Debian's Prometheus packages, installed where they are missing and never started as services."""

import shutil
from functools import cache

from tests.localcluster import packages


@cache
def program(name: str) -> str:
    """Where a program is.

    Raises:
        ClusterError: it is not installed, and apt-get cannot bring it; the message says what to install.
    """
    if shutil.which(name) is None:
        # Unpacked anywhere else they would run without Alertmanager's templates, whose path is compiled in.
        packages.install(["prometheus", "prometheus-alertmanager"])
    return shutil.which(name) or name
