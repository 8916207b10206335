"""What the real Triton answers for a version."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tests.serving.support.pod import call
from tests.serving.support.versions import Version, infer_body
from tests.serving.triton.conftest import Pod

INFER = "/v2/models/census/versions/1/infer"


def test_ten_thousand_rows_equal_the_native_model(serving: Pod, version: Version) -> None:
    """One request of 10,000 rows with missing values: every label equal, every score within 1e-6."""
    status, said = call(serving.server.port, INFER, infer_body(version.rows))
    assert status == 200
    labels, scores = said["outputs"]
    assert labels["shape"] == [10_000]
    assert (np.array(labels["data"]) == version.model.predict(version.rows)).all()
    found = np.array(scores["data"]).reshape(-1, 2)
    assert np.abs(found - version.model.predict_proba(version.rows)).max() < 1e-6


def test_requests_that_are_answered_together_get_their_own_rows(serving: Pod, version: Version) -> None:
    """400 requests of one to five rows at once: joined by the server, each gets the answer to its own rows."""
    slices = [slice(index, index + 1 + index % 5) for index in range(400)]
    with ThreadPoolExecutor(16) as clients:
        answers = list(
            clients.map(lambda part: call(serving.server.port, INFER, infer_body(version.rows[part])), slices)
        )
    wanted = version.model.predict(version.rows[:405])
    for part, (status, said) in zip(slices, answers, strict=True):
        assert status == 200
        assert said["outputs"][0]["data"] == wanted[part].tolist()


def test_the_wrong_width_is_the_caller_s_mistake(serving: Pod, version: Version) -> None:
    """Three columns for a model of four: 400 with what is wanted, and the next request is answered."""
    status, said = call(serving.server.port, INFER, infer_body(version.rows[:2, :3]))
    assert status == 400
    assert "unexpected shape" in said["error"]
    assert call(serving.server.port, INFER, infer_body(version.rows[:1]))[0] == 200


def test_nobody_without_the_key_changes_the_server(serving: Pod) -> None:
    """The repository, shared memory, logging and tracing answer 403 without the pod's key; health does not."""
    for path in ("/v2/repository/index", "/v2/repository/models/census/unload", "/v2/logging"):
        status, said = call(serving.server.port, path, b"{}")
        assert status == 403, path
        assert "restricted" in said["error"]
    assert call(serving.server.port, "/v2/systemsharedmemory/status")[0] == 403
    assert call(serving.server.port, INFER.removesuffix("/infer") + "/ready")[0] == 200


def test_a_ready_agent_says_what_it_proved(serving: Pod) -> None:
    """The body of /readyz counts the golden rows."""
    status, said = serving.agent.get("/readyz")
    assert status == 200
    assert said["message"].startswith("64 golden rows came out as at training")
    assert serving.agent.get("/healthz")[0] == 200
    assert serving.agent.get("/other")[0] == 404
