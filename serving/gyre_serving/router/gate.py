"""Who is let in: asks callers for their token, before their body is read and again before the model is asked."""

from collections.abc import Collection, Mapping

from gyre_serving.router.access import AccessLog, Ending
from gyre_serving.router.message import Refusal, Request
from gyre_serving.router.passage import Passage
from gyre_serving.router.service import Service


class Gate:
    """Checks tokens wherever a service asks for them."""

    def __init__(self, access: AccessLog) -> None:
        self._access = access

    def early(self, service: Service, request: Request) -> None:
        """Before the body: what a stranger sends is not even read.

        Raises:
            Refusal: 401, or 503 while no token is known.
        """
        try:
            _admit(service, request)
        except Refusal as refusal:
            service.stats.refused[str(refusal.status)] += 1
            if self._access.wants(service, "", refusal.status):
                self._access.note(request, service, None, Ending(refusal.status, len(refusal.body()), 0.0, ""))
            raise

    def __call__(self, passage: Passage) -> bool:
        """See `Step`: table or tokens may have changed while the body came."""
        _admit(passage.service, passage.request)
        return False

    def labels(self, services: Mapping[str, Service], named: Collection[str], request: Request) -> None:
        """Before any label is taken: the token of every service that the labels name.

        Raises:
            Refusal: 401, or 503 while no token is known.
        """
        for name in sorted(services.keys() & set(named)):
            service = services[name]
            if service.tokens is not None and service.route.auth is not None and service.route.auth.feedback:
                service.tokens.check(request.headers.get(b"authorization", b""), name)


def _admit(service: Service, request: Request) -> None:
    """Check the caller's token where predicting needs one."""
    auth, tokens = service.route.auth, service.tokens
    if tokens is not None and auth is not None and auth.predict:
        tokens.check(request.headers.get(b"authorization", b""), service.name)
