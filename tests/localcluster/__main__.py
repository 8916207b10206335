"""The command line: ``python3 -m tests.localcluster <command>``."""

from __future__ import annotations

import sys

from tests.localcluster.cli import main

sys.exit(main(sys.argv[1:]))
