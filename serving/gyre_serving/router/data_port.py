"""The data port: from a parsed request to an answer, or to an exchange that gets one from a model."""

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

import orjson

from gyre_crds.contracts.routing import REQUEST_ID
from gyre_serving.router.access import AccessLog, Ending, id_of
from gyre_serving.router.auth.waiting import Waiting
from gyre_serving.router.batch import Batches
from gyre_serving.router.feedback import Feedback
from gyre_serving.router.gate import Gate
from gyre_serving.router.identity import Signer, given_id, new_id
from gyre_serving.router.jobs import Connected, Job
from gyre_serving.router.message import Refusal, Request
from gyre_serving.router.mirroring import Reflect
from gyre_serving.router.order import Recipient
from gyre_serving.router.orders import Compose
from gyre_serving.router.outcomes import Recognise
from gyre_serving.router.passage import Passage, Step, respond
from gyre_serving.router.paths import GUARDED, POSTED, Ask, Call, resolve
from gyre_serving.router.payloads.recorder import Recorder
from gyre_serving.router.recall import Recall
from gyre_serving.router.service import Service
from gyre_serving.router.steps import Choose, Metadata, Ration, Send
from gyre_serving.router.table import Tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from gyre_serving.router.auth.guard import Pending
    from gyre_serving.router.auth.tls import TlsPort

logger = logging.getLogger(__name__)

_REQUEST_ID = REQUEST_ID.encode()
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
        self._feedback = feedback
        self._access = access
        self.loop = loop
        self.draining = False
        self.connections: set[Connected] = set()
        self.tls: TlsPort | None = None
        """The same port over TLS, where there is one."""
        self._answers: dict[Ask, Callable[[Call, Request], tuple[int, bytes]]] = {
            Ask.SERVER: lambda _call, _request: (200, SERVER),
            Ask.LIVE: lambda _call, _request: (200, b'{"live":true}'),
            Ask.READY: self._ready,
            Ask.MODEL_READY: self._model_ready,
            Ask.V1_MODEL: self._model_ready,
        }
        self._gate = Gate(access, self._go_on, self._turn_away)
        send, compose = Send(loop), Compose(recorder, signer, access)
        self._steps: tuple[Step, ...] = (
            self._gate,
            Ration(loop),
            Choose(loop),
            Batches(compose, access, loop),
            Metadata(send),
            compose,
            Recall(),
            Recognise(),
            Reflect(),
            send,
        )
        """What a call to a model goes through, in this order, until one of them answers it."""

    def body_limits(self, request: Request) -> tuple[int, float]:
        """The service's body limit and deadline; routes and methods that do not exist are refused here."""
        call = self._call(request)
        if request.method != (b"POST" if call.ask in POSTED else b"GET"):
            raise self._lost(405, f"{request.method.decode('latin-1')} is not served on this path")
        if call.ask is Ask.FEEDBACK:
            return MAX_FEEDBACK, FEEDBACK_SECONDS
        if not call.service:
            return 0, FEEDBACK_SECONDS
        service = self._service(call.service)
        if service.guard is not None and call.ask in GUARDED:
            self._gate.early(service, request)
        limits = service.route.limits
        return (limits.max_body if call.ask in POSTED else 0), max(limits.timeout_seconds, FEEDBACK_SECONDS)

    def in_doubt(self, request: Request, client: Recipient) -> "Pending | None":
        """See `Handler.in_doubt`."""
        call = self._call(request)
        if call.ask not in GUARDED or not call.service:
            return None
        return self._gate.in_doubt(self._service(call.service), request, client)

    def _tried(self, request: Request, client: Recipient, call: "Callable[[], Job | None]") -> Job | None:
        """What `handle` does, for a call that had to wait."""
        try:
            return call()
        except Refusal as refusal:
            self.refuse(request, client, refusal)
        except Exception:
            logger.exception("a request could not be handled")
            self.refuse(request, client, Refusal(500, "the router failed on this request; its log says why"))
        return None

    def handle(self, request: Request, client: Recipient) -> Job | None:
        """Answer locally, or start an exchange."""
        try:
            return self._route(request, client)
        except Refusal as refusal:
            # No name of this frame may keep the refusal: its own frames lead back here, and hold the body.
            self.refuse(request, client, refusal)
        except Exception:
            # The border of the process: one request that the code did not foresee must not hang its client.
            logger.exception("a request could not be handled")
            self.refuse(request, client, Refusal(500, "the router failed on this request; its log says why"))
        return None

    def refuse(self, request: Request, client: Recipient, refusal: Refusal) -> None:
        """Answer with the refusal, and count it."""
        body = refusal.body()
        peer = client.peer()
        respond(request, client, refusal.status, body, request.identity + refusal.headers())
        self._count(request, refusal, Ending(refusal.status, len(body), monotonic() - request.arrived, peer))

    def _route(self, request: Request, client: Recipient) -> Job | None:
        call = self._call(request)
        local = self._answers.get(call.ask)
        if local is None:
            if call.ask is Ask.FEEDBACK:
                return self._labels(request, client)
            request_id = self._request_id(request)
            request.identity = b"%b: %b\r\n" % (_REQUEST_ID, request_id.encode())
            return self._proxy(call, request, client, request_id)
        status, body = local(call, request)
        extra = b"retry-after: 1\r\n" if status == 503 else b""  # noqa: PLR2004  every 503 says when to come back
        respond(request, client, status, body, extra)
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

    def _labels(self, request: Request, client: Recipient) -> Job | None:
        try:
            document = orjson.loads(request.content())
        except orjson.JSONDecodeError as error:
            raise Refusal(400, f"the body is no JSON: {error}") from error
        services = self._tables.current.services if self._tables.current else {}
        questions = self._gate.labels(services, self._feedback.services(document), request, client.peer())

        def take() -> None:
            status, body = self._feedback.take(document)
            respond(request, client, status, body, b"retry-after: 1\r\n" if status == 503 else b"")  # noqa: PLR2004

        if not questions:
            take()
            return None
        return Waiting(
            questions,
            lambda: self._tried(request, client, take),
            lambda refusal: self.refuse(request, client, refusal),
        )

    # proxied
    def _proxy(self, call: Call, request: Request, client: Recipient, request_id: str) -> Job | None:
        passage = Passage(call, request, client, self._service(call.service), request_id)
        for step in self._steps:
            if step(passage):
                break
        return passage.job

    def _go_on(self, passage: Passage) -> Job | None:
        """All steps, for a call that waited at the gate.

        The gate too, which has the verdict at hand: table and rule may have changed while Kubernetes was asked.
        """
        request, client = passage.request, passage.client
        return self._tried(request, client, lambda: self._proxy(passage.call, request, client, passage.request_id))

    def _turn_away(self, passage: Passage, refusal: Refusal) -> None:
        self.refuse(passage.request, passage.client, refusal)

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
        call = request.call = request.call or resolve(request.url)
        if call is None:
            raise self._lost(404, f"no such path: {request.url[:200].decode('latin-1')}")
        return call

    def _lost(self, status: int, sentence: str, *, retry_after: int | None = None) -> Refusal:
        self._tables.stats.unrouted[str(status)] += 1
        return Refusal(status, sentence, retry_after=retry_after)
