"""`python -m tests.integration.training.program`: the operator with the TrainingJob controller only."""

import sys

from gyre_operators.main import main

if __name__ == "__main__":
    sys.exit(main(("gyre_operators.training.controller:TrainingController",)))
