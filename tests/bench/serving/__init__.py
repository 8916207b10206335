"""The serving plane beside its peers, measured in the same run: `python -m tests.bench.serving`."""
