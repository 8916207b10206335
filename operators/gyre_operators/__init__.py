"""Gyre's operator: one folder per controller over a level-triggered engine."""
