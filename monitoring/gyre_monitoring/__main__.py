"""`python -m gyre_monitoring`."""

import sys

from gyre_monitoring.cli import main

sys.exit(main())
