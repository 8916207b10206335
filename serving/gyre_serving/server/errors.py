"""How a request for predictions can end without one."""


class ModelError(Exception):
    """The model raised, or took its process with it; the message is one line."""


class Overloaded(Exception):  # noqa: N818  an answer, not an error of the program
    """The queue is full."""


class Late(Exception):  # noqa: N818  an answer, not an error of the program
    """The model did not answer in time."""
