"""`gyre-serving fetch`: bring a version into the pod, prove that it is the one, lay it out for the runtime."""

from gyre_serving.fetch.main import main

__all__ = ["main"]
