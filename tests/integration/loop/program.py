"""`python -m tests.integration.loop.program`: the operator with the controllers that close the loop."""

import sys

from gyre_operators.main import main

if __name__ == "__main__":
    sys.exit(
        main(
            (
                "gyre_operators.model.controller:ModelController",
                "gyre_operators.inference.controller:InferenceController",
                "gyre_operators.router.controller:RouterController",
                "gyre_operators.drift.controller:DriftController",
                "gyre_operators.drift.reports:ReportController",
            )
        )
    )
