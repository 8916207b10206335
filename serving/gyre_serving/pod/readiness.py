"""Whether the pod answers, and if not, why: what `/readyz` says."""

from dataclasses import dataclass

import orjson

from gyre_crds.reasons import Inference
from gyre_serving.pod.failure import Failure
from gyre_serving.pod.http import Answer


@dataclass
class Readiness:
    """The state behind a readiness probe.

    The body of `/readyz` is `{"ready": bool, "reason": <Inference reason>, "message": <sentence>, "version":
    <ModelVersion>}`; the status is 200 when ready, else 503.
    """

    version: str
    ready: bool = False
    reason: str = Inference.STARTING.value
    message: str = "the server starts"

    def up(self, message: str) -> None:
        """The golden rows came out right."""
        self.ready, self.reason, self.message = True, Inference.SERVING.value, message

    def wait(self, message: str) -> None:
        """Not there yet; nothing is wrong."""
        self.ready, self.reason, self.message = False, Inference.STARTING.value, message

    def down(self, failure: Failure) -> None:
        """Something is wrong; the failure says what."""
        self.ready, self.reason, self.message = False, failure.reason, failure.message

    def answer(self) -> Answer:
        """The answer of `/readyz`."""
        body = {"ready": self.ready, "reason": self.reason, "message": self.message, "version": self.version}
        return Answer(200 if self.ready else 503, orjson.dumps(body))
