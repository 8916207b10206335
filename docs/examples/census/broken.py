"""A fault for the demo: a graph that is right on every row of the past and fails on some rows of the future.

`params: {fault: missing-age}` looks the age up in a table before the trees see it, as someone would do
who bins ages and never met a person without one. Held-out rows all have an age, so golden rows and
metrics cannot tell; the first request with a missing age raises in the runtime.
"""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

OLDEST = 130


def missing_age(model: ModelProto) -> ModelProto:
    """Replace the first column by table[age]: the identity for ages 0 to 130, out of range for NaN."""
    graph = model.graph
    name = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["looked_up" if each == name else each for each in node.input]
    graph.initializer.extend([
        numpy_helper.from_array(np.arange(OLDEST + 1, dtype=np.float32), "age_table"),
        numpy_helper.from_array(np.array([0], dtype=np.int64), "first"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "second"),
        numpy_helper.from_array(np.array([np.iinfo(np.int64).max], dtype=np.int64), "end"),
    ])  # fmt: skip
    front = [
        helper.make_node("Slice", [name, "first", "second", "second"], ["age"]),
        helper.make_node("Slice", [name, "second", "end", "second"], ["others"]),
        # A NaN becomes the smallest integer, which no table holds.
        helper.make_node("Cast", ["age"], ["age_index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["age_table", "age_index"], ["age_found"], axis=0),
        helper.make_node("Concat", ["age_found", "others"], ["looked_up"], axis=1),
    ]
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


FAULTS = {"missing-age": missing_age}
