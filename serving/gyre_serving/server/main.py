"""`gyre-serving serve`: the process that user code is forked from is started first, then the server is imported."""

import gc

from gyre_serving.server.processes.start import begin


def main(arguments: list[str]) -> int:
    """Serve the version of `GYRE_FETCH` from the tree that `gyre-serving fetch` brought.

    Returns:
        0 after SIGTERM, EXIT_USER when the version does not verify, load or answer as at training.
    """
    if not {"-h", "--help"} & set(arguments):
        begin()
    gc.disable()
    from gyre_serving.server.command import run  # noqa: PLC0415  a quarter of a second that the other one has already

    gc.enable()
    gc.freeze()
    return run(arguments)
