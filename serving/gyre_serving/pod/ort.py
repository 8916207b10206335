"""onnxruntime, silenced: the only place of this distribution that imports it.

Its Linux builds write a device id below HOME and send usage events to their maker from the moment of import,
unless told otherwise before it (its Privacy.md). Nothing of a user's cluster leaves it through us.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # type: ignore[import-untyped]

InferenceSession = onnxruntime.InferenceSession
SessionOptions = onnxruntime.SessionOptions

__all__ = ["InferenceSession", "SessionOptions"]
