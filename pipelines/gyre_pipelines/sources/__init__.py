"""Data sources: how each kind of `data[]` entry becomes files.

A new kind is one module with a function of the type `Fetch` and one line in `KINDS`.
"""

from collections.abc import Callable

from gyre_crds.v1alpha1.training import DataSource
from gyre_pipelines.sources import claim, feedback, uri
from gyre_pipelines.sources.base import Context, Fetched

__all__ = ["Context", "Fetched", "fetch"]

Fetch = Callable[[DataSource, Context], Fetched]

KINDS: dict[str, Fetch] = {"uri": uri.fetch, "claim": claim.fetch, "from_": feedback.fetch}


def fetch(source: DataSource, context: Context) -> Fetched:
    """The files of one source, verified; the API has made sure that it names exactly one kind.

    Raises:
        Failure: nothing there, not readable, or other bytes than its sha256 says.
    """
    kind = next(name for name in KINDS if getattr(source, name) is not None)
    return KINDS[kind](source, context)
