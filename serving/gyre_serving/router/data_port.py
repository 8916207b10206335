"""The data port: from a parsed request to an answer, or to an exchange that gets one from a model."""

import asyncio
import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import orjson

from gyre_crds.contracts.routing import FALLBACK_HEADER, FEEDBACK_HEADER, REQUEST_ID
from gyre_serving.router.access import AccessLog, Ending, id_of
from gyre_serving.router.clients import Clients
from gyre_serving.router.connection import ClientConnection
from gyre_serving.router.exchange import Exchange, Order
from gyre_serving.router.fallback import Fallback, static_answer
from gyre_serving.router.feedback import Feedback
from gyre_serving.router.identity import Signer, given_id, new_id, sampled
from gyre_serving.router.message import HOP_BY_HOP, Refusal, Request, answer
from gyre_serving.router.paths import POSTED, Ask, Call, resolve
from gyre_serving.router.payloads.recorder import Recorder
from gyre_serving.router.payloads.records import Record
from gyre_serving.router.prepare import Prepared, prepare, prepare_v1
from gyre_serving.router.table import Revision, Service, Tables
from gyre_serving.router.v1 import to_v1

logger = logging.getLogger(__name__)

_REQUEST_ID = REQUEST_ID.encode()
_DROPPED = HOP_BY_HOP | {
    b"host", b"content-length", b"expect", _REQUEST_ID,
    b"accept-encoding",  # a compressed answer could be neither logged nor translated
    b"content_length", b"transfer_encoding",  # names that some servers read as framing
}  # fmt: skip
_BY_REVISION = f"{FALLBACK_HEADER}: revision\r\n".encode()
_BY_NUMBERS = f"{FALLBACK_HEADER}: static\r\n".encode()
MAX_FEEDBACK = 4 * 2**20
FEEDBACK_SECONDS = 30.0
SERVER = orjson.dumps({"name": "gyre-router", "version": "0.1.0", "extensions": ["binary_tensor_data"]})


class DataPort:
    """Handler of client connections."""

    def __init__(
        self,
        *,
        tables: Tables,
        recorder: Recorder,
        signer: Signer,
        feedback: Feedback,
        access: AccessLog,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._tables = tables
        self._recorder = recorder
        self._signer = signer
        self._feedback = feedback
        self._access = access
        self.loop = loop
        self.draining = False
        self.connections: set[ClientConnection] = set()
        self._answers: dict[Ask, Callable[[Call, Request], tuple[int, bytes]]] = {
            Ask.SERVER: lambda _call, _request: (200, SERVER),
            Ask.LIVE: lambda _call, _request: (200, b'{"live":true}'),
            Ask.READY: self._ready,
            Ask.MODEL_READY: self._model_ready,
            Ask.V1_MODEL: self._model_ready,
            Ask.FEEDBACK: self._labels,
        }

    def body_limits(self, request: Request) -> tuple[int, float]:
        """The service's body limit and deadline; routes and methods that do not exist are refused here."""
        call = self._call(request)
        if request.method != (b"POST" if call.ask in POSTED else b"GET"):
            raise self._lost(405, f"{request.method.decode('latin-1')} is not served on this path")
        if call.ask is Ask.FEEDBACK:
            return MAX_FEEDBACK, FEEDBACK_SECONDS
        if not call.service:
            return 0, FEEDBACK_SECONDS
        limits = self._service(call.service).route.limits
        return (limits.max_body if call.ask in POSTED else 0), max(limits.timeout_seconds, FEEDBACK_SECONDS)

    def handle(self, request: Request, client: ClientConnection) -> Exchange | None:
        """Answer locally, or start an exchange."""
        try:
            return self._route(request, client)
        except Refusal as caught:
            refusal = caught
        except Exception:
            # The border of the process: one request that the code did not foresee must not hang its client.
            logger.exception("a request could not be handled")
            refusal = Refusal(500, "the router failed on this request; its log says why")
        body = refusal.body()
        peer = client.peer()
        _respond(request, client, refusal.status, body, request.identity + refusal.headers())
        self._count(request, refusal, Ending(refusal.status, len(body), self.loop.time() - request.arrived, peer))
        return None

    def _route(self, request: Request, client: ClientConnection) -> Exchange | None:
        call = self._call(request)
        local = self._answers.get(call.ask)
        if local is None:
            request_id = self._request_id(request)
            request.identity = b"%b: %b\r\n" % (_REQUEST_ID, request_id.encode())
            return self._proxy(call, request, client, request_id)
        status, body = local(call, request)
        extra = b"retry-after: 1\r\n" if status == 503 else b""  # noqa: PLR2004  every 503 says when to come back
        _respond(request, client, status, body, extra)
        return None

    # answered here
    def _ready(self, _call: Call, _request: Request) -> tuple[int, bytes]:
        ready = self._tables.current is not None and not self.draining
        return (200, b'{"ready":true}') if ready else (503, b'{"ready":false}')

    def _model_ready(self, call: Call, _request: Request) -> tuple[int, bytes]:
        service = self._service(call.service)
        chosen = service.choose(b"", call.version)
        now = self.loop.time()
        ready = chosen is not None and chosen[0].backends.healthy(now) > 0
        body = orjson.dumps({"name": service.name, "ready": ready})
        return (200 if ready else 503), body

    def _labels(self, _call: Call, request: Request) -> tuple[int, bytes]:
        try:
            document = orjson.loads(request.content())
        except orjson.JSONDecodeError as error:
            raise Refusal(400, f"the body is no JSON: {error}") from error
        return self._feedback.take(document)

    # proxied
    def _proxy(self, call: Call, request: Request, client: ClientConnection, request_id: str) -> Exchange | None:
        service = self._service(call.service)
        if service.clients is not None:
            self._ration(service, service.clients, request, client)
        revision, propensity, directed = self._choice(service, request, request_id, call.version)
        if call.ask is Ask.MODEL:
            return self._metadata(service, revision, request, client, request.identity + revision.headers)
        order = self._order(call, request, service, revision, request_id, propensity=propensity, directed=directed)
        if service.fallback is not None and call.version is None:
            order.stand_ins = self._stand_ins(service.fallback, order, call, request_id)
        return self._start(order, client)

    def _order(
        self,
        call: Call,
        request: Request,
        service: Service,
        revision: Revision,
        request_id: str,
        *,
        propensity: float,
        directed: bool,
    ) -> Order:
        """The order for a revision.

        Raises:
            Refusal: 400 when the request does not fit the revision's signature.
        """
        headers = [request.identity, revision.headers]
        logs = self._recorder.logs(service.name)
        if logs is not None:
            feedback_id = self._signer.issue(service.name, request_id)
            headers.append(f"{FEEDBACK_HEADER}: {feedback_id}\r\n".encode())
        prepared = _prepared(call, request, service, revision)
        if prepared.problem is not None:
            service.stats.violations += 1
            if service.route.validation == "Enforce":
                revision.stats.rejected += 1
                raise Refusal(400, prepared.problem)
            if service.route.validation == "Warn":
                headers.append(b"x-gyre-warning: %b\r\n" % _header_text(prepared.problem))
        order = Order(
            request=request,
            service=service,
            revision=revision,
            head=_head(b"POST", revision.path + call.suffix, request, request_id, sum(map(len, prepared.body))),
            body=prepared.body,
            answer_headers=b"".join(headers),
            directed=directed,
        )
        if call.ask is Ask.PREDICT and revision.route.signature is not None:
            order.translate = functools.partial(to_v1, signature=revision.route.signature)
        if logs is not None and prepared.loggable is not None and sampled(request_id, logs.rule.sample):
            order.collect = self._collector(service, revision, request_id, propensity, prepared)
        order.done = self._tell
        share = service.route.access_sample
        order.told = share > 0 and sampled(request_id, share)
        return order

    def _stand_ins(self, fallback: Fallback, order: Order, call: Call, request_id: str) -> Iterator[Order]:
        """What may answer instead of the order's revision; made only once it is asked for."""
        request, service = order.request, order.service
        for revision in fallback.revisions:
            if revision is not order.revision:
                with contextlib.suppress(Refusal):  # a request that does not fit this one may fit the next
                    made = self._order(call, request, service, revision, request_id, propensity=1.0, directed=True)
                    made.answer_headers += _BY_REVISION
                    yield made
        answered = static_answer(fallback.static, service.name, order.revision.route.signature, order.body)
        if answered is not None:
            yield replace(order, local=answered, collect=None, answer_headers=request.identity + _BY_NUMBERS)

    def _ration(self, service: Service, clients: Clients, request: Request, client: ClientConnection) -> None:
        """Let the client's request in while its bucket holds a token."""
        wait = clients.wait(clients.name(request, client.peer()), self.loop.time())
        if wait:
            rule = clients.rule
            raise Refusal(
                429,
                f"{service.name} takes {rule.rate:g} requests a second of one client, {rule.burst} at once; "
                f"come back in {wait:.3g} s",
                retry_after=math.ceil(wait),
            )

    def _choice(
        self, service: Service, request: Request, request_id: str, version: str | None
    ) -> tuple[Revision, float, bool]:
        """The revision, the chance with which it was picked, and whether anything but the split picked it."""
        if service.matches and version is None:
            matched = service.matched(request.headers, self.loop.time())
            if matched is not None:
                return matched, 1.0, True
        key = request.headers.get(service.sticky) if service.sticky else None
        chosen = service.choose(key or request_id.encode(), version)
        if chosen is not None:
            return *chosen, version is not None
        if version is not None:
            known = ", ".join(one.version for one in service.revisions) or "none"
            raise Refusal(404, f"{service.name} has no version {version!r}; it serves {known}")
        raise Refusal(503, f"{service.name} serves no version yet", retry_after=5)

    def _tell(self, order: Order, end: Ending) -> None:
        self._access.note(order.request, order.service, order.revision, end)

    def _start(self, order: Order, client: ClientConnection) -> Exchange | None:
        exchange = Exchange(order, client, self.loop)
        exchange.start()
        return None if exchange.cancelled else exchange

    def _metadata(
        self, service: Service, revision: Revision, request: Request, client: ClientConnection, headers: bytes
    ) -> Exchange | None:
        """From the signature where there is one; the model server is asked otherwise."""
        signature = revision.route.signature
        if signature is None:
            head = _head(b"GET", revision.path, request, "", 0)
            # Asked by machines that start, not by callers of the model: no evidence of how it does.
            return self._start(Order(request, service, revision, head, [], headers, directed=True), client)
        tensors = {
            side: [{"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in tensors]
            for side, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs))
        }
        versions = [one.version for one in service.revisions]
        body = orjson.dumps({"name": service.name, "versions": versions, "platform": "gyre", **tensors})
        _respond(request, client, 200, body, headers)
        return None

    def _collector(
        self, service: Service, revision: Revision, request_id: str, propensity: float, prepared: Prepared
    ) -> Callable[[int, bytes | None], None]:
        arrived = time.time_ns() // 1000

        def collect(status: int, body: bytes | None) -> None:
            logs = self._recorder.logs(service.name)
            if logs is None or status != 200 or body is None or prepared.loggable is None:  # noqa: PLR2004
                return
            logs.payloads.add(
                Record(
                    request_id=request_id,
                    time_us=arrived,
                    revision=revision.route.revision,
                    version=revision.version,
                    propensity=propensity,
                    keys=prepared.keys,
                    request=prepared.loggable,
                    answer=body,
                )
            )

        return collect

    def _request_id(self, request: Request) -> str:
        given = request.headers.get(_REQUEST_ID)
        return new_id() if given is None else given_id(given)

    def _service(self, name: str) -> Service:
        compiled = self._tables.current
        if compiled is None:
            raise self._lost(503, "the router has no routing table yet", retry_after=1)
        service = compiled.services.get(name)
        if service is None:
            raise self._lost(404, f"no InferenceService {name!r} in namespace {compiled.table.namespace}")
        return service

    def _count(self, request: Request, refusal: Refusal, end: Ending) -> None:
        compiled, call = self._tables.current, resolve(request.url)
        service = compiled.services.get(call.service) if compiled and call else None
        if service is not None:
            service.stats.refused[str(refusal.status)] += 1
        if self._access.wants(service, id_of(request), refusal.status):
            self._access.note(request, service, None, end)

    def _call(self, request: Request) -> Call:
        call = resolve(request.url)
        if call is None:
            raise self._lost(404, f"no such path: {request.url[:200].decode('latin-1')}")
        return call

    def _lost(self, status: int, sentence: str, *, retry_after: int | None = None) -> Refusal:
        self._tables.stats.unrouted[str(status)] += 1
        return Refusal(status, sentence, retry_after=retry_after)


def _respond(request: Request, client: ClientConnection, status: int, body: bytes, extra: bytes) -> None:
    close = client.closes(request)
    client.write(answer(status, body, extra=extra, close=close))
    client.finish(close=close)


def _prepared(call: Call, request: Request, service: Service, revision: Revision) -> Prepared:
    """The body to send; a refusal counts against the revision that would have got it."""
    checked = service.route.validation != "Off"
    try:
        if call.ask is Ask.PREDICT:
            return prepare_v1(request.content(), revision.route.signature, revision.checker if checked else None)
        if call.ask is Ask.GENERATE:
            return Prepared(request.body)
        return prepare(request, revision.checker if checked else None)
    except Refusal:
        revision.stats.rejected += 1
        raise


def _head(method: bytes, path: bytes, request: Request, request_id: str, length: int) -> bytes:
    """Request line and headers for the model server; the host line is added by the exchange."""
    lines = [b"%b %b HTTP/1.1\r\n" % (method, path)]
    nominated = request.headers.get(b"connection", b"").lower()
    for name, value in request.headers.items():
        if name not in _DROPPED and not (nominated and name in nominated):
            lines.append(name + b": " + value + b"\r\n")
    if request_id:
        lines.append(b"%b: %b\r\n" % (_REQUEST_ID, request_id.encode()))
    if method == b"POST":
        lines.append(b"content-length: %d\r\n" % length)
    return b"".join(lines)


def _header_text(sentence: str) -> bytes:
    return "".join(char if " " <= char <= "~" else "?" for char in sentence[:400]).encode()
