"""The step that finds the first request of a sticky key, whose outcome is the key's."""

from gyre_serving.router.passage import Passage


class Recognise:
    """Mark the first request of each key of a service with a sticky header."""

    def __call__(self, passage: Passage) -> bool:
        """See `Step`."""
        service = passage.service
        if service.keys is not None and service.sticky is not None and not passage.directed:
            key = passage.request.headers.get(service.sticky)
            passage.order.first = service.keys.first(key or None, passage.request_id)
        return False
