"""What the wrapper says of a running attempt, throttled so that a status is written seldom."""

from datetime import timedelta
from http import HTTPStatus
from typing import NamedTuple, Protocol

import aiohttp
from pydantic import ValidationError

from gyre_crds.contracts.attempt import PROGRESS_PORT, ProgressReport
from gyre_crds.v1alpha1.training import ProgressStatus
from gyre_operators.engine.clock import Clock, rfc3339
from gyre_operators.workload.views import Pod

_TIMEOUT = 2.0
_POLL_EVERY = timedelta(seconds=4)
_TELL_EVERY = timedelta(seconds=30)
_TELL_POINTS = 5
_REMEMBERED = 4096


class ProgressSource(Protocol):
    """Says how far the program in a pod is."""

    async def of(self, pod: Pod) -> ProgressStatus | None:
        """The progress to show now; None while there is none. Never raises: progress is a courtesy."""


class _Told(NamedTuple):
    status: ProgressStatus
    at: float
    polled: float


class Progress:
    """Polls `GET http://<pod ip>:9464/progress`.

    It repeats what it said last until the percentage moved by five points or 30 s have passed, so
    a plan that mirrors it writes no more often than that.
    """

    def __init__(self, http: aiohttp.ClientSession, clock: Clock, *, port: int = PROGRESS_PORT) -> None:
        self._http = http
        self._clock = clock
        self._port = port
        self._told: dict[str, _Told] = {}

    async def of(self, pod: Pod) -> ProgressStatus | None:
        """See `ProgressSource.of`."""
        uid, now = pod.metadata.uid, self._clock().timestamp()
        was = self._told.get(uid)
        if was is not None and now - was.polled < _POLL_EVERY.total_seconds():
            return was.status
        report = await self._poll(pod.status.pod_ip)
        if report is None:
            return was.status if was else None
        if was is not None and not _worth_telling(was, report, now):
            self._told[uid] = was._replace(polled=now)
            return was.status
        self._remember(uid, _Told(_status(report, self._clock), now, now))
        return self._told[uid].status

    async def _poll(self, address: str) -> ProgressReport | None:
        host = f"[{address}]" if ":" in address else address
        try:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
            async with self._http.get(f"http://{host}:{self._port}/progress", timeout=timeout) as answer:
                if answer.status != HTTPStatus.OK:
                    return None
                return ProgressReport.model_validate_json(
                    await answer.content.read(65536), by_alias=True, by_name=False
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
            return None

    def _remember(self, uid: str, told: _Told) -> None:
        self._told[uid] = told
        if len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]


def _worth_telling(was: _Told, report: ProgressReport, now: float) -> bool:
    moved = abs((report.percent or 0) - (was.status.percent or 0)) >= _TELL_POINTS
    return moved or now - was.at >= _TELL_EVERY.total_seconds()


def _status(report: ProgressReport, clock: Clock) -> ProgressStatus:
    eta = clock() + timedelta(seconds=report.eta_seconds) if report.eta_seconds is not None else None
    return ProgressStatus(
        percent=None if report.percent is None else int(report.percent),
        eta=None if eta is None else rfc3339(eta),
        step=report.step,
        metrics=dict(sorted(report.metrics.items())[:20]),
    )
