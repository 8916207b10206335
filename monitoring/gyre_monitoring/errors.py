"""What can go wrong, told apart by whose turn it is."""


class InputError(ValueError):
    """The request cannot be met as it stands; the message is one sentence that names field and cure."""

    def __init__(self, message: str, *, reason: str = "LookFailed") -> None:
        super().__init__(message)
        self.reason = reason


class StoreError(RuntimeError):
    """The object store does not answer or refuses; trying again later may help."""
