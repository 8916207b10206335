"""Who may ask a service: whoever proves itself in any one of the ways that its rule names."""

import asyncio
import time

from gyre_crds.contracts.routing import GRPC_TLS_PORT, TLS_PORT, AuthRule, ReviewRule
from gyre_serving.router.auth.channel import Channel
from gyre_serving.router.auth.claims import Claims, claims_of
from gyre_serving.router.auth.kubernetes import Verdict
from gyre_serving.router.auth.reviews import Reviews
from gyre_serving.router.message import Refusal
from gyre_serving.router.tokens import Tokens

Pending = asyncio.Future[Verdict]


class Unauthenticated(Refusal):
    """401, with the header that says how to do better."""

    def __init__(self, sentence: str, scheme: str = "Bearer") -> None:
        super().__init__(401, sentence)
        self._scheme = scheme

    def headers(self) -> bytes:
        """The challenge."""
        return b'www-authenticate: %b realm="gyre"\r\n' % self._scheme.encode()


class Guard:
    """The ways of one service. Whoever fits one of them passes, whatever it brings besides."""

    def __init__(self, service: str, rule: AuthRule, tokens: Tokens | None, reviews: Reviews) -> None:
        self.rule = rule
        self.tokens = tokens
        self._service = service
        self._reviews = reviews
        self._certificates = frozenset(rule.certificates)
        self._users = frozenset(rule.review.users if rule.review else ())
        self._groups = frozenset(rule.review.groups if rule.review else ())

    def early(self, authorization: bytes, channel: Channel | None) -> None:
        """Refuse whoever cannot pass in any case, without a question to Kubernetes.

        Raises:
            Refusal: see `check`.
        """
        token = self._open(authorization, channel)
        if token is None or self.rule.review is None:
            return
        self._claims(token, self.rule.review)
        said = self._reviews.remembered(token, self.rule.review)
        if said is not None:
            self.judge(said)

    def check(self, authorization: bytes, channel: Channel | None = None, peer: str = "") -> Pending | None:
        """Let the caller pass, or say what has to be waited for: `judge` then decides about its result.

        Args:
            authorization: value of the header.
            channel: of a caller over TLS.
            peer: the caller's address, by which tokens of nobody are rationed.

        Raises:
            Refusal: 401 without a proof, 403 for a known caller that is not allowed, 429 after too many tokens
                of nobody, 503 while proofs cannot be looked at.
        """
        token = self._open(authorization, channel)
        if token is None or self.rule.review is None:
            return None
        claims = self._claims(token, self.rule.review)
        said = self._reviews.verdict(token, self.rule.review, claims, peer)
        if isinstance(said, Verdict):
            self.judge(said)
            return None
        return said

    async def admitted(self, authorization: bytes, channel: Channel | None = None, peer: str = "") -> None:
        """`check` and `judge` for who can wait.

        Raises:
            Refusal: see `check`.
        """
        pending = self.check(authorization, channel, peer)
        if pending is not None:
            # Shielded: others may wait for the same verdict.
            self.judge(await asyncio.shield(pending))

    def judge(self, said: Verdict) -> None:
        """Decide about the owner of a token.

        Raises:
            Refusal: 401 where it has none, 403 where that is not allowed.
        """
        if not said.user:
            raise Unauthenticated(f"{self._service}: Kubernetes does not know this token, or it was made for others")
        if said.user not in self._users and not said.groups & self._groups:
            raise Refusal(403, f"{self._service}: {said.user} is not among auth.tokenReview.allow")

    def _open(self, authorization: bytes, channel: Channel | None) -> bytes | None:
        """None for a caller that passes, else the token that Kubernetes has to be asked about."""
        if channel is not None and channel.names & self._certificates and channel.holds():
            return None
        scheme, _, token = authorization.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token:
            raise self._unproven(channel)
        if self.tokens is not None and self.tokens.knows(token):
            return None
        if self.rule.review is None:
            raise self._unknown(channel)
        return token

    def _claims(self, token: bytes, rule: ReviewRule) -> Claims:
        claims = claims_of(token)
        if claims is None:
            raise Unauthenticated(f"{self._service}: this token is not known")
        if claims.expires <= time.time():
            raise Unauthenticated(f"{self._service}: this token has expired; get a new one")
        if not claims.audiences.intersection(rule.audiences):
            wanted = ", ".join(rule.audiences)
            raise Unauthenticated(f"{self._service}: this token was not made for the audience {wanted}")
        return claims

    def _unproven(self, channel: Channel | None) -> Refusal:
        """The answer to a caller without a token."""
        if self.tokens is not None and not self.tokens and self.rule.review is None and not self._certificates:
            return self.tokens.nobody(self._service)
        if self._certificates and channel is not None and channel.names:
            return self._foreign(channel)
        bearer = self.tokens is not None or self.rule.review is not None
        ways = ["send the header `authorization: Bearer <token>`"] if bearer else []
        if self._certificates:
            ports = f"https on port 443, a pod's {TLS_PORT}; gRPC on {GRPC_TLS_PORT}"
            where = "show" if channel is not None else f"ask over TLS ({ports}) and show"
            ways.append(f"{where} a client certificate")
        said = f"{self._service}: {', or '.join(ways) or 'nobody may ask'}"
        return Unauthenticated(said, "Bearer" if bearer else "ClientCertificate")

    def _unknown(self, channel: Channel | None) -> Refusal:
        """The answer to a caller with a token that is none."""
        if self.tokens is None:
            return self._unproven(channel)
        if not self.tokens and not self._certificates:
            return self.tokens.nobody(self._service)
        return Unauthenticated(f"{self._service}: this token is not known")

    def _foreign(self, channel: Channel) -> Refusal:
        """The answer to a caller whose certificate is good and named nowhere."""
        if not channel.holds():
            return Unauthenticated(f"{self._service}: this client certificate has expired; connect with a new one")
        return Refusal(403, f"{self._service}: a certificate of {channel.told()} is not among auth.mtls.allow")
