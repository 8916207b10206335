"""What a URL of the data port asks for."""

import re
from enum import Enum
from functools import lru_cache
from typing import NamedTuple


class Ask(Enum):
    """Kinds of calls."""

    __hash__ = object.__hash__  # Enum's own is written in Python and would run three times a request

    SERVER = "server metadata"
    LIVE = "router is live"
    READY = "router is ready"
    MODEL = "model metadata"
    MODEL_READY = "model is ready"
    INFER = "inference"
    GENERATE = "generate extension"
    PREDICT = "V1 predict"
    V1_MODEL = "V1 model status"
    BATCH = "many rows"
    FEEDBACK = "labels"


POSTED = frozenset({Ask.INFER, Ask.BATCH, Ask.GENERATE, Ask.PREDICT, Ask.FEEDBACK})
"""Asked with POST; everything else with GET."""

GUARDED = frozenset({Ask.INFER, Ask.BATCH, Ask.GENERATE, Ask.PREDICT, Ask.MODEL})
"""Where a service may ask for a token; its readiness is nobody's secret."""


class Call(NamedTuple):
    """One resolved URL. `service` is the InferenceService, `version` what stood behind /versions/."""

    ask: Ask
    service: str = ""
    version: str | None = None
    suffix: bytes = b""
    """What follows the version in the upstream path."""


_PLAIN = {
    b"/v2": Call(Ask.SERVER),
    b"/v2/": Call(Ask.SERVER),
    b"/v2/health/live": Call(Ask.LIVE),
    b"/v2/health/ready": Call(Ask.READY),
    b"/v1/feedback": Call(Ask.FEEDBACK),
}
_V2 = re.compile(
    rb"/v2/models/([a-z0-9][-a-z0-9.]{0,62})(?:/versions/([A-Za-z0-9][-A-Za-z0-9_.]{0,62}))?"
    rb"(/infer|/batch|/ready|/generate|/generate_stream)?"
)
_V1 = re.compile(rb"/v1/models/([a-z0-9][-a-z0-9.]{0,62})((?::|%3[aA])predict)?")
_SUFFIX = {
    b"/infer": Ask.INFER,
    b"/batch": Ask.BATCH,
    b"/ready": Ask.MODEL_READY,
    b"/generate": Ask.GENERATE,
    b"/generate_stream": Ask.GENERATE,
    b"": Ask.MODEL,
}


@lru_cache(maxsize=4096)
def resolve(url: bytes) -> Call | None:
    """The call behind a request target such as `/v2/models/churn/infer?x=1`; None when there is none."""
    path = url.partition(b"?")[0]
    plain = _PLAIN.get(path)
    if plain is not None:
        return plain
    found = _V2.fullmatch(path)
    if found:
        version = found[2].decode() if found[2] else None
        suffix = found[3] or b""
        return Call(_SUFFIX[suffix], found[1].decode(), version, suffix)
    found = _V1.fullmatch(path)
    if found:
        return Call(Ask.PREDICT if found[2] else Ask.V1_MODEL, found[1].decode(), None, b"/infer")
    return None
