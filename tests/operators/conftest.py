"""What all tests of the operator share."""

import asyncio


def pytest_configure() -> None:
    """Leave no event loop behind that nobody made on purpose.

    The first asynchronous test asks for the loop that was there before, and on Python 3.11 asking
    makes one, which nobody closes; with warnings as errors that fails the whole run.
    """
    asyncio.set_event_loop(None)
