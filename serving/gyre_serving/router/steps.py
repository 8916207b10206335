"""The steps of a call to a model that need no memory of their own: rationed, assigned to a revision, sent."""

import asyncio
import math

import orjson

from gyre_serving.router.exchange import Exchange
from gyre_serving.router.message import Refusal
from gyre_serving.router.order import Order
from gyre_serving.router.orders import upstream_head
from gyre_serving.router.passage import Passage, respond
from gyre_serving.router.paths import Ask


class Ration:
    """Let the client's request in while its bucket holds a token."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, passage: Passage) -> bool:
        """See `Step`; 429 with the seconds to wait."""
        clients = passage.service.clients
        if clients is None:
            return False
        wait = clients.wait(clients.name(passage.request, passage.client.peer()), self._loop.time())
        if wait:
            rule = clients.rule
            raise Refusal(
                429,
                f"{passage.service.name} takes {rule.rate:g} requests a second of one client, {rule.burst} at once; "
                f"come back in {wait:.3g} s",
                retry_after=math.ceil(wait),
            )
        return False


class Choose:
    """Assign the request to a revision: the path's, a header's, or the split's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, passage: Passage) -> bool:
        """See `Step`; 404 for a version that is not served, 503 while none is."""
        service, request, version = passage.service, passage.request, passage.call.version
        if service.matches and version is None:
            matched = service.matched(request.headers, self._loop.time())
            if matched is not None:
                passage.revision, passage.directed = matched, True
                return False
        key = request.headers.get(service.sticky) if service.sticky else None
        if not key and service.route.sequences:
            key = request.split
        chosen = service.choose(key or passage.request_id.encode(), version)
        if chosen is not None:
            passage.revision, passage.propensity = chosen
            passage.directed = version is not None
            return False
        if version is not None:
            known = ", ".join(one.version for one in service.revisions) or "none"
            raise Refusal(404, f"{service.name} has no version {version!r}; it serves {known}")
        raise Refusal(503, f"{service.name} serves no version yet", retry_after=5)


class Metadata:
    """Describe the model, from the signature where there is one; the model server is asked otherwise."""

    def __init__(self, send: "Send") -> None:
        self._send = send

    def __call__(self, passage: Passage) -> bool:
        """See `Step`."""
        if passage.call.ask is not Ask.MODEL:
            return False
        request, service, revision = passage.request, passage.service, passage.revision
        headers = request.identity + revision.headers
        signature = revision.route.signature
        if signature is None:
            head = upstream_head(b"GET", revision.path, request, "", 0, secret=service.guard is not None)
            # Asked by machines that start, not by callers of the model: no evidence of how it does.
            passage.order = Order(request, service, revision, head, [], headers, directed=True)
            return self._send(passage)
        tensors = {
            side: [{"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in tensors]
            for side, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs))
        }
        versions = [one.version for one in service.revisions]
        body = orjson.dumps({"name": service.name, "versions": versions, "platform": "gyre", **tensors})
        respond(request, passage.client, 200, body, headers)
        return True


class Send:
    """Start the exchange with a model server: the last step."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, passage: Passage) -> bool:
        """See `Step`."""
        exchange = Exchange(passage.order, passage.client, self._loop)
        exchange.start()
        passage.job = None if exchange.cancelled else exchange
        return True
