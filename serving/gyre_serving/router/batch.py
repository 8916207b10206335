"""Many rows in one call: cut into requests that the model takes, each counted once, and answered row by row."""

import asyncio
import time
from collections import deque

from gyre_serving.router.access import AccessLog, Ending
from gyre_serving.router.message import Refusal, Request
from gyre_serving.router.orders import Compose, header_text
from gyre_serving.router.parts import OK, Batch, Part
from gyre_serving.router.passage import Passage, respond
from gyre_serving.router.paths import Ask
from gyre_serving.router.rows import Rows
from gyre_serving.router.tensors import dumps

LONGEST_ID = 116
"""Characters of a request id; a part's has a dot and a row besides."""


class Batches:
    """The step that answers a call of many rows."""

    def __init__(self, compose: Compose, access: AccessLog, loop: asyncio.AbstractEventLoop) -> None:
        self._compose = compose
        self._access = access
        self._loop = loop

    def __call__(self, passage: Passage) -> bool:
        """See `Step`; 400 for a request whose rows cannot be told apart or belong together, 413 for too many."""
        if passage.call.ask is not Ask.BATCH:
            return False
        if passage.service.route.sequences:
            name = passage.service.name
            raise Refusal(400, f"{name} answers sequences, whose order a batch would lose; ask one by one with /infer")
        rule = passage.service.route.batch
        if len(passage.request_id) > LONGEST_ID:
            raise Refusal(400, f"header x-request-id: a batch takes at most {LONGEST_ID} characters")
        rows = Rows(_json(passage.request))
        if not 0 < rows.count <= rule.max_rows:
            raise Refusal(413 if rows.count else 400, f"a batch takes 1 to {rule.max_rows} rows, got {rows.count}")
        batch = Batch(passage, rows, self._compose, self._loop, self._ended, _check(passage, rows))
        for first in range(0, rows.count, rule.rows):
            self._line_up(batch, Part(first, min(rule.rows, rows.count - first)))
        passage.job = batch
        batch.advance()
        return True

    @staticmethod
    def _line_up(batch: Batch, part: Part) -> None:
        """Leave out rows that do not fit the signature; the others are asked in the parts that remain."""
        passage = batch.passage
        checker = passage.revision.checker
        if checker is None or passage.service.route.validation != "Enforce":
            batch.waiting.append(part)
            return
        looked_at, refused = deque([part]), False
        while looked_at:
            one = looked_at.popleft()
            problem = checker.problem(batch.rows.cut(one.first, one.rows))
            if problem is None:
                batch.waiting.append(one._replace(extra=False))
            elif one.rows > 1:
                looked_at.extendleft(reversed(one.halves()))
            else:
                batch.failed[one.first], refused = Refusal(400, problem), True
        passage.revision.stats.rejected += refused
        passage.service.stats.violations += refused

    def _ended(self, batch: Batch) -> None:
        passage = batch.passage
        passage.job = None  # they hold each other, rows and all
        status, body = _answer(batch)
        headers = passage.request.identity + passage.revision.headers + batch.warning
        respond(passage.request, passage.client, status, body, headers)
        if self._access.wants(passage.service, passage.request_id, status):
            seconds = time.monotonic() - passage.request.arrived
            end = Ending(status, len(body), seconds, passage.client.peer())
            self._access.note(passage.request, passage.service, passage.revision, end)


def _check(passage: Passage, rows: Rows) -> bytes:
    """A header line with what does not fit, where that is only warned of.

    Raises:
        Refusal: 400 where no row could ever fit: another input, type or shape is wanted.
    """
    checker, validation = passage.revision.checker, passage.service.route.validation
    if checker is None or validation == "Off":
        return b""
    if validation == "Warn":
        problem = checker.problem(rows.document)
        return b"" if problem is None else b"x-gyre-warning: %b\r\n" % header_text(problem)
    misfit = checker.problem(rows.cut(0, 0))
    if misfit is not None:
        passage.revision.stats.rejected += 1
        passage.service.stats.violations += 1
        raise Refusal(400, checker.problem(rows.document) or misfit)
    return b""


def _json(request: Request) -> bytes:
    if b"inference-header-content-length" in request.headers or b"content-encoding" in request.headers:
        raise Refusal(415, "a batch is plain JSON; ask with binary tensors or an encoded body over /infer")
    return request.content()


def _answer(batch: Batch) -> tuple[int, bytes]:
    """200 where any row has its answer; else the first row's failure."""
    failed = sorted(batch.failed.items())
    document = {**batch.answers.head, "model_name": batch.passage.service.name, "outputs": batch.answers.outputs()}
    if "id" in batch.rows.document:
        document["id"] = batch.rows.document["id"]
    document["rows"] = batch.rows.count
    document["errors"] = [{"row": row, "status": one.status, "error": one.sentence} for row, one in failed]
    document["parts"] = sorted(batch.parts, key=lambda part: str(part["first"]).zfill(10))
    status = OK
    if len(failed) == batch.rows.count:
        status, document["error"] = failed[0][1].status, failed[0][1].sentence
    try:
        return status, dumps(document)
    except Refusal:
        return 502, Refusal(502, "the model's answers hold text that is no UTF-8").body()
