"""`python -m gyre_operators` runs the operator."""

import sys

from gyre_operators.main import main

sys.exit(main())
