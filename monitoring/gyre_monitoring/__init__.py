"""Gyre's drift engine: profiles of reference rows, looks at windows, verdicts a person can trust."""

__version__ = "0.1.0"
