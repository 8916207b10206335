"""Load of gRPC calls in a process of its own: `python -m tests.bench.serving.grpc_load PORT CONNECTIONS SECONDS ROWS`.

Prints calls, and the latencies' median and 99th percentile in milliseconds, as JSON.
"""

import asyncio
import json
import statistics
import sys
import time

import numpy as np
from grpc import aio  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2  # type: ignore[import-untyped]

METHOD = "/inference.GRPCInferenceService/ModelInfer"
WIDTH = 4
UNLIMITED = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


def message(rows: int) -> bytes:
    """A request with raw contents, as Triton's client sends it."""
    request = service_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[rows, WIDTH])
    values = 0.125 * (np.arange(rows * WIDTH) % 97) + 0.0625
    request.raw_input_contents.append(values.astype(np.float32).tobytes())
    return bytes(request.SerializeToString())


async def load(port: int, connections: int, seconds: float, rows: int) -> list[float]:
    """Latencies of all calls that were made."""
    data, found = message(rows), []
    until = time.monotonic() + seconds

    async def one(number: int) -> None:
        async with aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
            method = channel.unary_unary(METHOD)
            while (begun := time.monotonic()) < until:
                number += connections
                await method(data, metadata=(("x-user", f"u{number % 1000}"),))
                found.append(time.monotonic() - begun)

    await asyncio.gather(*(one(number) for number in range(connections)))
    return found


def main() -> None:
    """Run one round."""
    port, connections, seconds, rows = map(int, sys.argv[1:5])
    found = asyncio.run(load(port, connections, seconds, rows))
    cuts = statistics.quantiles(found, n=100)
    sys.stdout.write(json.dumps({"calls": len(found), "p50": 1e3 * cuts[49], "p99": 1e3 * cuts[98]}))


if __name__ == "__main__":
    main()
