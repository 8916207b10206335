"""Who may ask an InferenceService: tokens of its own, Kubernetes' tokens, client certificates."""

from typing import Annotated

from pydantic import Field, StringConstraints

from gyre_crds.base import ApiModel, Name, Rule, one_of

Account = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", max_length=317
    ),
]  # fmt: skip
"""A ServiceAccount as `namespace/name`."""
Subject = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]*[!-~])?$", max_length=256)]
"""A name in printable ASCII."""


class TokenSecret(ApiModel):
    """Callers with a token of their own."""

    secret: Name
    """Secret with one key a caller: the token (16 characters at least), or sha256: and the token's SHA-256 in hex."""


class Reviewed(ApiModel):
    """One caller, or many, as Kubernetes knows them."""

    RULES = (one_of("service_account", "user", "group"),)

    service_account: Account | None = None
    """namespace/name of a ServiceAccount."""
    user: Subject | None = None
    """A username."""
    group: Subject | None = None
    """A group, such as system:serviceaccounts:shop for all ServiceAccounts of namespace shop."""


class TokenReview(ApiModel):
    """Callers with a token of Kubernetes, as pods have for their ServiceAccount; the API server says whose it is."""

    audiences: Annotated[list[Subject], Field(min_length=1, max_length=8)]
    """Tokens made for one of these count (in a pod: serviceAccountToken.audience of a projected volume)."""
    allow: Annotated[list[Reviewed], Field(min_length=1, max_length=64)]
    """Who may ask; other known callers get 403."""


class Certified(ApiModel):
    """One name in a client certificate, compared whole."""

    RULES = (one_of("uri", "dns", "common_name"),)

    uri: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*:[!-~]+$", max_length=2048)] | None = None
    """A URI of the subject's alternative names, such as spiffe://cluster.local/ns/shop/sa/web."""
    dns: Subject | None = None
    """A DNS name of the subject's alternative names."""
    common_name: Subject | None = None
    """The subject's common name."""


class MutualTls(ApiModel):
    """Callers who show a client certificate on port 443, signed by an authority in ca.crt of Secret gyre-router-tls."""

    allow: Annotated[list[Certified], Field(min_length=1, max_length=64)]
    """Who may ask; other certificates get 403."""


class Auth(ApiModel):
    """Who may ask: whoever proves itself in any one of the ways that are set; others get 401, known ones 403."""

    tokens: TokenSecret | None = None
    """Bearer tokens of a Secret; 503 while it holds none."""
    token_review: TokenReview | None = None
    """Bearer tokens of Kubernetes; needs the chart's value tokenReview.namespaces to hold the namespace."""
    mtls: MutualTls | None = None
    """Client certificates; needs Secret gyre-router-tls (tls.crt, tls.key, ca.crt) in the namespace."""
    predict: bool = True
    """Whether questions to the model need a proof; readiness never does."""
    feedback: bool = True
    """Whether labels need a proof."""

    RULES = (
        Rule(
            "self.predict || self.feedback",
            "auth: let predict or feedback be true, or leave auth out",
            lambda auth: auth.predict or auth.feedback,
        ),
        Rule(
            "has(self.tokens) || has(self.tokenReview) || has(self.mtls)",
            "auth: set tokens, tokenReview or mtls, or leave auth out",
            lambda auth: bool(auth.tokens or auth.token_review or auth.mtls),
        ),
    )
