"""Who is let in: asks callers who they are, before their body is read and again before the model is asked."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from gyre_serving.router.access import AccessLog, Ending
from gyre_serving.router.auth.guard import Pending
from gyre_serving.router.auth.waiting import Question, Waiting
from gyre_serving.router.jobs import Job
from gyre_serving.router.message import Refusal, Request
from gyre_serving.router.order import Recipient
from gyre_serving.router.passage import Passage
from gyre_serving.router.service import Service


class Gate:
    """Checks callers wherever a service asks who they are."""

    def __init__(
        self, access: AccessLog, go_on: Callable[[Passage], Job | None], refuse: Callable[[Passage, Refusal], None]
    ) -> None:
        """Args: the access log, and what follows for a call that had to wait: the next steps, or a refusal."""
        self._access = access
        self._go_on = go_on
        self._refuse = refuse

    def early(self, service: Service, request: Request) -> None:
        """Before the body: what a stranger sends is not even read.

        A token that Kubernetes has to be asked about is `in_doubt`.

        Raises:
            Refusal: see `Guard.check`.
        """
        guard = service.guard
        if guard is not None and guard.rule.predict:
            with self._counted(service, request):
                guard.early(request.headers.get(b"authorization", b""), request.channel)

    def in_doubt(self, service: Service, request: Request, client: Recipient) -> Pending | None:
        """What the rest of a body has to wait for; None where its sender is known.

        Raises:
            Refusal: see `Guard.check`.
        """
        if service.guard is None or not service.guard.rule.predict:
            return None
        with self._counted(service, request):
            return _check(service, request, client.peer())

    @contextmanager
    def _counted(self, service: Service, request: Request) -> Iterator[None]:
        try:
            yield
        except Refusal as refusal:
            service.stats.refused[str(refusal.status)] += 1
            if self._access.wants(service, "", refusal.status):
                self._access.note(request, service, None, Ending(refusal.status, len(refusal.body()), 0.0, ""))
            raise

    def __call__(self, passage: Passage) -> bool:
        """See `Step`: table or tokens may have changed while the body came."""
        guard = passage.service.guard
        if guard is None or not guard.rule.predict:
            return False
        pending = _check(passage.service, passage.request, passage.client.peer())
        if pending is None:
            return False
        passage.job = Waiting(
            [(guard, pending)], lambda: self._go_on(passage), lambda refusal: self._refuse(passage, refusal)
        )
        return True

    def labels(
        self, services: Mapping[str, Service], named: Collection[str], request: Request, peer: str
    ) -> list[Question]:
        """Before any label is taken: every service that the labels name has to know the caller.

        Returns what has to be waited for.

        Raises:
            Refusal: see `Guard.check`.
        """
        questions = []
        for name in sorted(services.keys() & set(named)):
            guard = services[name].guard
            if guard is not None and guard.rule.feedback:
                pending = _check(services[name], request, peer)
                if pending is not None:
                    questions.append((guard, pending))
        return questions


def _check(service: Service, request: Request, peer: str) -> Pending | None:
    if service.guard is None:
        return None
    return service.guard.check(request.headers.get(b"authorization", b""), request.channel, peer)
