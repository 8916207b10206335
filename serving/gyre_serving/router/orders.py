"""From a call and its revision to the order that gets the answer: body, headers, logs, stand-ins."""

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from gyre_crds.contracts.routing import FALLBACK_HEADER, FEEDBACK_HEADER, REQUEST_ID
from gyre_serving.router.access import AccessLog, Ending
from gyre_serving.router.checks import Checker
from gyre_serving.router.dialect import takes_binary
from gyre_serving.router.fallback import Fallback, static_answer
from gyre_serving.router.identity import Signer, sampled
from gyre_serving.router.message import HOP_BY_HOP, Refusal, Request
from gyre_serving.router.order import Collected, Order
from gyre_serving.router.passage import Passage
from gyre_serving.router.paths import Ask, Call
from gyre_serving.router.payloads.recorder import Recorder
from gyre_serving.router.payloads.records import Record
from gyre_serving.router.prepare import Prepared, prepare, prepare_v1
from gyre_serving.router.service import Revision, Service
from gyre_serving.router.v1 import to_v1

if TYPE_CHECKING:
    from gyre_serving.router.grpc.forms import Forms

_REQUEST_ID = REQUEST_ID.encode()
_TOKEN = b"authorization"
_DROPPED = HOP_BY_HOP | {
    b"host", b"content-length", b"expect", _REQUEST_ID,
    b"accept-encoding",  # a compressed answer could be neither logged nor translated
    b"content_length", b"transfer_encoding",  # names that some servers read as framing
}  # fmt: skip
_BY_REVISION = f"{FALLBACK_HEADER}: revision\r\n".encode()
_BY_NUMBERS = f"{FALLBACK_HEADER}: static\r\n".encode()


class Compose:
    """Write the call's order, with those that stand in for it."""

    def __init__(self, recorder: Recorder, signer: Signer, access: AccessLog) -> None:
        self._recorder = recorder
        self._signer = signer
        self._access = access

    def __call__(self, passage: Passage) -> bool:
        """See `Step`; 400 when the request does not fit the revision's signature."""
        service = passage.service
        passage.order = order = self._order(
            passage, passage.revision, propensity=passage.propensity, directed=passage.directed
        )
        if service.fallback is not None and passage.call.version is None:
            # Of copies: what the order holds must not lead back to it, or only the collector frees the body.
            bare = Passage(passage.call, passage.request, passage.client, service, passage.request_id)
            order.stand_ins = self._stand_ins(service.fallback, bare, replace(order))
        else:
            passage.request.forms = None  # nobody else wants it in another form, and it takes more than the order
        return False

    def feedback_id(self, service: Service, request_id: str) -> str | None:
        """What labels of the request's rows come back with; None where the service keeps none."""
        return self._signer.issue(service.name, request_id) if self._recorder.logs(service.name) is not None else None

    def _order(self, passage: Passage, revision: Revision, *, propensity: float, directed: bool) -> Order:
        call, request, service, request_id = passage.call, passage.request, passage.service, passage.request_id
        headers = [request.identity, revision.headers]
        logs = self._recorder.logs(service.name)
        feedback_id = self.feedback_id(service, request_id)
        if feedback_id is not None:
            headers.append(f"{FEEDBACK_HEADER}: {feedback_id}\r\n".encode())
        prepared = _prepared(call, request, service, revision)
        if prepared.problem is not None:
            service.stats.violations += 1
            if service.route.validation == "Enforce":
                revision.stats.rejected += 1
                raise Refusal(400, prepared.problem)
            if service.route.validation == "Warn":
                headers.append(b"x-gyre-warning: %b\r\n" % header_text(prepared.problem))
        length = sum(map(len, prepared.body))
        order = Order(
            request=request,
            service=service,
            revision=revision,
            head=upstream_head(
                b"POST",
                revision.path + call.suffix,
                request,
                request_id,
                length,
                secret=service.guard is not None,
                more=prepared.headers,
            ),
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

    def _stand_ins(self, fallback: Fallback, passage: Passage, order: Order) -> Iterator[Order]:
        """What may answer instead of the order's revision; made only once it is asked for."""
        request = passage.request
        for revision in fallback.revisions:
            if revision is not order.revision:
                with contextlib.suppress(Refusal):  # a request that does not fit this one may fit the next
                    made = self._order(passage, revision, propensity=1.0, directed=True)
                    made.answer_headers += _BY_REVISION
                    yield made
        signature = order.revision.route.signature
        text = request.forms.json() if request.forms is not None and fallback.static else None
        answered = static_answer(fallback.static, passage.service.name, signature, [text] if text else order.body)
        if answered is not None:
            yield replace(order, local=answered, collect=None, answer_headers=request.identity + _BY_NUMBERS)

    def _tell(self, order: Order, end: Ending) -> None:
        self._access.note(order.request, order.service, order.revision, end)

    def _collector(
        self, service: Service, revision: Revision, request_id: str, propensity: float, prepared: Prepared
    ) -> Collected:
        arrived = time.time_ns() // 1000

        def collect(status: int, body: bytes | None, json_length: int | None) -> None:
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
                    tensors=prepared.tensors,
                    answer_json=json_length,
                )
            )

        return collect


def _prepared(call: Call, request: Request, service: Service, revision: Revision) -> Prepared:
    """The body to send; a refusal counts against the revision that would have got it."""
    checked = service.route.validation != "Off"
    try:
        if call.ask is Ask.PREDICT:
            return prepare_v1(request.content(), revision.route.signature, revision.checker if checked else None)
        if call.ask is Ask.GENERATE:
            return Prepared(request.body)
        checker = revision.checker if checked else None
        if request.forms is not None:
            return _of_forms(request.forms, request, service, revision, checker)
        return prepare(request, checker)
    except Refusal:
        revision.stats.rejected += 1
        raise


def _of_forms(
    forms: "Forms", request: Request, service: Service, revision: Revision, checker: Checker | None
) -> Prepared:
    """Raw tensors as they came, where all servers that may get them take binary ones; JSON else, which all take."""
    shadow = service.mirror.revision if service.mirror is not None else None
    # An answer that may be given again to others is JSON.
    binary = forms.raw and service.cache is None and takes_binary(revision.backends)
    if not binary or (shadow is not None and not takes_binary(shadow.backends)):
        text = forms.json()
        if text is not None:
            request.body = [text]
            return prepare(request, checker)
    return forms.binary(checker)


def upstream_head(
    method: bytes,
    path: bytes,
    request: Request,
    request_id: str,
    length: int,
    *,
    secret: bool = False,
    more: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Request line and headers for the model server, without a `secret` token; the exchange adds the host line.

    Args:
        method: of the request.
        path: upstream.
        request: whose headers go on.
        request_id: empty for none.
        length: of the body.
        secret: whether the token stays here.
        more: headers that go before the request's own.
    """
    lines = [method, b" ", path, b" HTTP/1.1\r\n"]
    headers = {**request.headers, **more} if more else request.headers
    nominated = headers[b"connection"].lower() if b"connection" in headers else b""
    for name, value in headers.items():
        if name not in _DROPPED and not (nominated and name in nominated) and not (secret and name == _TOKEN):
            lines += (name, b": ", value, b"\r\n")
    if request_id:
        lines += (_REQUEST_ID, b": ", request_id.encode(), b"\r\n")
    if method == b"POST":
        lines.append(b"content-length: %d\r\n" % length)
    return b"".join(lines)


def header_text(sentence: str) -> bytes:
    """The sentence as a header may hold it."""
    return "".join(char if " " <= char <= "~" else "?" for char in sentence[:400]).encode()
