"""Gyre's API types and the contracts between its planes: the ground every plane stands on."""
