"""Everything that proves Gyre; `python3 -m tests.run` runs it by suite."""
