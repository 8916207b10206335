"""A version as a model of Triton: configuration, shim and files of its model repository."""

from gyre_serving.triton.config import Options
from gyre_serving.triton.repository import render

__all__ = ["Options", "render"]
