"""pydantic and the real API server give the same verdict on the same manifest."""

import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from gyre_crds.base import parse
from gyre_crds.schema import crd
from gyre_crds.v1alpha1 import KINDS
from tests.crds.manifests import SPECS, damaged, manifest
from tests.localcluster import control_plane

pytestmark = pytest.mark.cluster

_BY_KIND = {kind.KIND: kind for kind in KINDS}
MANIFESTS = 1200


class Server:
    """One kept connection to the API server as administrator."""

    def __init__(self, plane: Any) -> None:
        api = plane.layout.state
        context = ssl.create_default_context(cafile=str(api.pki / "ca.crt"))
        context.load_cert_chain(str(api.pki / "admin.crt"), str(api.pki / "admin.key"))
        where = urlsplit(plane.url)
        self._connection = http.client.HTTPSConnection(str(where.hostname), where.port, context=context, timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded answer."""
        self._connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def verdict(self, whole: dict[str, Any]) -> tuple[bool, str]:
        """Whether a strict dry run of creating the object is accepted, and what was said."""
        plural = _BY_KIND[whole["kind"]].PLURAL
        path = f"/apis/gyre.dev/v1alpha1/namespaces/default/{plural}?dryRun=All&fieldValidation=Strict"
        status, answer = self.call("POST", path, whole)
        assert status in {201, 400, 422}, answer
        return status == 201, str(answer.get("message", ""))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A control plane with the six CRDs."""
    with control_plane() as plane:
        server = Server(plane)
        for kind in KINDS:
            status, answer = server.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd(kind))
            assert status == 201, answer
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = [server.call("GET", f"/apis/gyre.dev/v1alpha1/{kind.PLURAL}")[0] for kind in KINDS]
            if set(found) == {200}:
                break
            time.sleep(0.2)
        yield server
        server.close()


def _pydantic(whole: dict[str, Any]) -> tuple[bool, str]:
    try:
        parse(_BY_KIND[whole["kind"]], whole)
    except ValidationError as error:
        return False, str(error)
    return True, ""


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_the_full_manifest_of_each_kind_is_accepted_by_both(server: Server, kind: str) -> None:
    """A manifest that sets nearly every field is valid for the API server and for pydantic."""
    whole = manifest(kind, SPECS[kind])

    assert _pydantic(whole) == (True, "")
    assert server.verdict(whole) == (True, "")


_STICKY = {"traffic": {"sticky": {"header": "x-user"}}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({"replicas": 2, **_STICKY}, "replicas: set 1", id="two-pods"),
        pytest.param({}, "traffic.sticky: name a header", id="a-canary-without-a-key"),
        pytest.param({"cache": {}, **_STICKY}, "cache: leave it out", id="cached-answers"),
        pytest.param({"fallback": {}, **_STICKY}, "fallback: leave it out", id="another-revision-steps-in"),
        pytest.param({"rollout": {"strategy": "Shadow"}, **_STICKY}, "rollout.strategy: set Canary", id="a-shadow"),
        pytest.param(_STICKY, "", id="one-pod-and-a-key"),
    ],
)
def test_a_sequence_that_would_change_pods_is_refused_by_both(server: Server, more: dict[str, Any], said: str) -> None:
    """The rules between runtime.options.sequence and the rest of the spec say the same sentence on both sides."""
    sequence = {"kind": "Triton", "options": {"sequence": {}}}
    whole = manifest("InferenceService", {"model": {"name": "m"}, "runtime": sequence, **more})

    for accepted, sentence in (_pydantic(whole), server.verdict(whole)):
        assert accepted == (not said)
        assert said in sentence


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        pytest.param({"horizon": "0s"}, "horizon: what is won has to last for more than 0s", id="nothing lasts"),
        pytest.param({"budget": {"runs": 1, "per": "0s"}}, "budget.per: give more than 0s", id="a budget of no time"),
        pytest.param({"assumedDecay": 0.1}, "assumedDecay: it is weighed against a cost", id="a decay without a cost"),
        pytest.param({"assumedDecay": 0.1, "costPerRun": 1, "horizon": "1ms"}, "", id="small and sane"),
    ],
)
def test_a_decision_that_nothing_follows_from_is_refused_by_both(
    server: Server, decision: dict[str, Any], said: str
) -> None:
    """A horizon, a budget and a decay that could not do what they say."""
    training = {**SPECS["Model"]["training"], "decision": decision}
    whole = manifest("Model", {**SPECS["Model"], "training": training})

    for accepted, sentence in (_pydantic(whole), server.verdict(whole)):
        assert accepted == (not said)
        assert said in sentence


_REVIEW: dict[str, Any] = {"audiences": ["census"], "allow": [{"serviceAccount": "shop/web"}]}


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        pytest.param({}, "auth: set tokens, tokenReview or mtls, or leave auth out", id="no way at all"),
        pytest.param({"predict": False}, "auth: set tokens, tokenReview or mtls", id="nothing but what it is for"),
        pytest.param({"tokenReview": {**_REVIEW, "allow": []}}, "allow", id="tokens of Kubernetes for nobody"),
        pytest.param({"tokenReview": {**_REVIEW, "audiences": []}}, "audiences", id="tokens made for anybody"),
        pytest.param({"tokenReview": {"allow": _REVIEW["allow"]}}, "audiences", id="no audience named"),
        pytest.param(
            {"tokenReview": {**_REVIEW, "allow": [{"serviceAccount": "web"}]}}, "serviceAccount", id="no namespace"
        ),
        pytest.param(
            {"tokenReview": {**_REVIEW, "allow": [{"user": "a", "group": "b"}]}},
            "set exactly one of serviceAccount, user, group",
            id="user and group in one entry",
        ),
        pytest.param({"mtls": {"allow": []}}, "allow", id="certificates for nobody"),
        pytest.param({"mtls": {"allow": [{}]}}, "set exactly one of uri, dns, commonName", id="a name of no sort"),
        pytest.param({"mtls": {"allow": [{"uri": "web"}]}}, "uri", id="a URI without its scheme"),
        pytest.param({"mtls": {"allow": [{"dns": "web.shop.svc"}]}}, "", id="certificates alone"),
        pytest.param({"tokenReview": _REVIEW}, "", id="tokens of Kubernetes alone"),
    ],
)
def test_who_may_ask_is_never_everybody_by_accident(server: Server, auth: dict[str, Any], said: str) -> None:
    """An auth that names nobody is refused by both, with the field in the sentence."""
    whole = manifest("InferenceService", {"model": {"name": "m"}, "auth": auth})

    for accepted, sentence in (_pydantic(whole), server.verdict(whole)):
        assert accepted == (not said)
        assert said in sentence


def test_a_thousand_damaged_manifests_get_the_same_verdict(server: Server) -> None:
    """For 1,200 generated manifests, valid and broken, both sides agree; both verdicts occur often."""
    differences, accepted = [], 0
    for whole in damaged(seed=20261121, count=MANIFESTS):
        ours, why = _pydantic(whole)
        theirs, said = server.verdict(whole)
        accepted += theirs
        if ours != theirs:
            differences.append((whole, why[:400] if not ours else said[:400]))

    assert not differences, f"{len(differences)} differ; {differences[:10]}"
    assert MANIFESTS * 0.2 < accepted < MANIFESTS * 0.8


def test_each_crd_is_small(server: Server) -> None:
    """Every CRD stays below 100 kB, so `kubectl apply` and Argo CD can carry it."""
    assert server
    sizes = {path.name: path.stat().st_size for path in Path("crds").glob("*.gyre.dev.yaml")}

    assert len(sizes) == len(KINDS)
    assert max(sizes.values()) < 100_000, sizes


def test_generated_files_are_up_to_date() -> None:
    """`python -m gyre_crds check` finds nothing to write."""
    import sys  # noqa: PLC0415  only to find this interpreter

    done = subprocess.run([sys.executable, "-m", "gyre_crds", "check"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
