"""A version as a model of Triton: configuration, shim and files of its model repository."""

from gyre_serving.triton.repository import Options, render

__all__ = ["Options", "render"]
