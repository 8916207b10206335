"""What all tests of the operator share."""

import asyncio

from hypothesis import settings

# A machine that does other things as well must not fail a test by being slow.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure() -> None:
    """Leave no event loop behind that nobody made on purpose.

    The first asynchronous test asks for the loop that was there before, and on Python 3.11 asking
    makes one, which nobody closes; with warnings as errors that fails the whole run.
    """
    asyncio.set_event_loop(None)
