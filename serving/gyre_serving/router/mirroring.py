"""The step that marks a call for mirroring; the copy itself is sent once the answer is out."""

from gyre_serving.router.passage import Passage
from gyre_serving.router.paths import Ask

_COMPARED = frozenset({Ask.INFER, Ask.PREDICT})
"""Calls whose answers can be compared."""


class Reflect:
    """Mark the service's share of the calls that the split assigned."""

    def __call__(self, passage: Passage) -> bool:
        """See `Step`."""
        mirror = passage.service.mirror
        if mirror is None or passage.directed or passage.call.ask not in _COMPARED:
            return False
        if mirror.wants(passage.revision, passage.request_id):
            passage.order.mirror = mirror
        return False
