"""`python -m tests.integration.engine.program`: the operator with the example controller only."""

import sys

from gyre_operators.main import main

if __name__ == "__main__":
    sys.exit(main(("tests.operators.engine.example:OnceController",)))
