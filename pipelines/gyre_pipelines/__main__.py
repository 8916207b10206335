"""`python -m gyre_pipelines` is `gyre-pipelines`."""

import sys

from gyre_pipelines.cli import main

sys.exit(main())
