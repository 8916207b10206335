"""The one exception that a user sees: a sentence that names the cause and the cure."""

from __future__ import annotations

import errno
from typing import Final

_CURES: Final = {
    errno.ENOSPC: "The disk is full: free some space (README.md says what is needed)",
    errno.EDQUOT: "The disk quota is used up: free some space (README.md says what is needed)",
    errno.EROFS: "The file system is read-only: point GYRE_CACHE and the checkout elsewhere",
    errno.EACCES: "Permission denied: run as the owner of the checkout, or as root for `up`",
}


class ClusterError(Exception):
    """The cluster cannot do what was asked; ``str()`` is one sentence with the cure."""


def from_os_error(error: OSError) -> ClusterError:
    """Turn an operating-system error into a sentence with a cure where one is known."""
    where = f" ({error.filename})" if error.filename else ""
    cure = _CURES.get(error.errno or 0)
    return ClusterError(f"{cure}{where}." if cure else f"{error.strerror or error}{where}.")
