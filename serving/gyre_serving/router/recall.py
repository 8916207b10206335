"""The step that gives a former answer again where the service allows it and the question is the same."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain

import orjson

from gyre_crds.contracts.routing import CACHE_HEADER, FALLBACK_HEADER
from gyre_serving.router.access import Ending
from gyre_serving.router.cache import Cache, Kept
from gyre_serving.router.message import Refusal
from gyre_serving.router.order import Collected, Order
from gyre_serving.router.passage import Passage, respond
from gyre_serving.router.paths import Ask
from gyre_serving.router.tensors import parse

_ASKS = frozenset({Ask.INFER, Ask.PREDICT})
_TELLING = (b"accept", b"accept-language", b"content-type", b"authorization", b"cookie")
"""Request headers on which an answer may depend: the form that is wanted, and who asks."""
_BINARY = b"inference-header-content-length"
_UNREADABLE = frozenset({_BINARY, b"content-encoding"})
_ID = rb'"id"\s*:\s*("[^"\\\x00-\x1f]*")'
_FIRST = re.compile(rb"\s*\{\s*" + _ID + rb"\s*,")
_LAST = re.compile(rb",\s*" + _ID + rb"\s*\}\s*\Z")
_LONGEST_ID = 512
_STALE = f"{FALLBACK_HEADER}: cache\r\n{CACHE_HEADER}: stale\r\n".encode()
OK = 200


class Recall:
    """Answer from the service's cache, or see to it that the model's answer gets there."""

    def __call__(self, passage: Passage) -> bool:
        """See `Step`."""
        cache = passage.service.cache
        if cache is None or passage.call.ask not in _ASKS:
            return False
        directives = passage.request.headers.get(b"cache-control", b"").lower()
        if b"no-store" in directives or not _may_recall(passage):
            cache.bypass()
            return False
        key, identity = _key(passage)
        order = passage.order
        if b"no-cache" in directives:
            cache.bypass()
        elif (kept := cache.get(key)) is not None:
            _answer(passage, kept, identity)
            return True
        elif cache.rule.stale_if_error_seconds:
            # Of a copy, as with all that stands in: see `Compose`.
            bare = replace(order, collect=None, stand_ins=None)
            order.stand_ins = _with_last(order.stand_ins or iter(()), bare, lambda: cache.last(key), identity)
        order.collect = _Keeping(cache, key, identity, order.collect)
        return False


def _may_recall(passage: Passage) -> bool:
    """Whether the body is JSON and one revision has all the traffic: a canary is judged by whom it answers."""
    if _UNREADABLE & passage.request.headers.keys() or _BINARY in passage.order.head:
        return False
    return sum(one.lot is not None for one in passage.service.revisions) == 1


def _key(passage: Passage) -> tuple[bytes, bytes]:
    """What makes questions equal, and the question's id (a JSON string, empty without one)."""
    headers, order = passage.request.headers, passage.order
    body = b"".join(order.body)
    span = _id_span(body)
    start, end = span or (0, 0)
    digest = blake2b(digest_size=32, person=b"gyre-cache")
    for part in (
        passage.revision.route.revision.encode(),
        *(headers.get(name, b"") for name in _TELLING),
        b"id" if span else b"",
        body[:start],
    ):
        digest.update(b"%d:%b" % (len(part), part))
    digest.update(body[end:])
    return digest.digest(), body[start:end]


def _id_span(body: bytes) -> tuple[int, int] | None:
    """Where the value of the document's id stands. One that is neither first nor last stays part of the question."""
    found = _FIRST.match(body) or _LAST.search(body, max(0, len(body) - _LONGEST_ID))
    return found.span(1) if found else None


@dataclass(slots=True)
class _Keeping:
    """Keeps a good answer; whoever else wants it gets it too."""

    cache: Cache
    key: bytes
    identity: bytes
    then: Collected | None

    def __call__(self, status: int, body: bytes | None, json_length: int | None) -> None:
        if status == OK and body is not None and json_length is None:
            kept = _without_id(body, self.identity)
            if kept is not None:
                self.cache.put(self.key, kept)
        if self.then is not None:
            self.then(status, body, json_length)


def _without_id(body: bytes, identity: bytes) -> Kept | None:
    """The answer, its id cut out; None where it is no JSON object or bears an id that the caller did not give."""
    try:
        document = parse(body).document
    except Refusal:
        return None
    if not isinstance(document, dict):
        return None
    if "id" not in document:
        return Kept(body, None, time.monotonic())
    if not identity or document["id"] != orjson.loads(identity):
        return None
    found = re.findall(rb'"id"\s*:\s*' + re.escape(identity), body)
    if len(found) != 1:
        return None
    end = body.index(found[0]) + len(found[0])
    return Kept(body[: end - len(identity)], body[end:], time.monotonic())


def _with_last(
    others: Iterator[Order], order: Order, last: Callable[[], Kept | None], identity: bytes
) -> Iterator[Order]:
    """What stands in for the order: models first, then its last answer, then what no model ever said."""
    looked = False
    for other in chain(others, (None,)):
        if not looked and (other is None or other.local is not None):
            looked = True
            if (kept := last()) is not None:
                told = order.answer_headers + _STALE + b"age: %d\r\n" % (time.monotonic() - kept.since)
                yield replace(order, local=kept.body(identity), answer_headers=told)
        if other is not None:
            yield other


def _answer(passage: Passage, kept: Kept, identity: bytes) -> None:
    order = passage.order
    body = kept.body(identity)
    status, told = order.translate(OK, body) if order.translate is not None else (OK, body)
    age = int(time.monotonic() - kept.since)
    order.revision.stats.cached += 1
    headers = order.answer_headers + f"{CACHE_HEADER}: hit\r\nage: {age}\r\n".encode()
    respond(passage.request, passage.client, status, told, headers)
    _tell(order, Ending(status, len(told), time.monotonic() - passage.request.arrived, passage.client.peer()))
    if order.collect is not None:
        order.collect(OK, body, None)


def _tell(order: Order, end: Ending) -> None:
    if order.done is not None and order.told:
        order.done(order, end)
