"""An image that does not come: what only a person cures ends the attempt, a registry that is away does not."""

from datetime import UTC, datetime, timedelta

from gyre_crds.base import seconds
from gyre_crds.reasons import Training
from gyre_operators.engine.clock import parse_time
from gyre_operators.workload.pending import INVALID_IMAGE, needs_a_person, why_pending
from gyre_operators.workload.views import Pod


def given_up_at(pod: Pod, grace: str) -> datetime | None:
    """When the wait for the user's image ends; None while it can still come by itself.

    A name that is no image's is given up at once. A push or a pull secret may follow the job by minutes, hence
    the grace. An image of Gyre's own is the installation's to correct: the job waits for that until its deadline.
    """
    train, prepare = pod.container("train"), pod.terminated("prepare")
    if train is None or pod.ended or not needs_a_person(train):
        return None
    if train.state.waiting is not None and train.state.waiting.reason == INVALID_IMAGE:
        return datetime.min.replace(tzinfo=UTC)
    # The user's image is first asked for when prepare has ended.
    since = (prepare.finished_at if prepare else None) or pod.metadata.creation_timestamp
    return parse_time(since) + timedelta(seconds=seconds(grace)) if since else None


def refusal(pod: Pod) -> str | None:
    """The sentence for a user's image that only a person can bring."""
    train, why = pod.container("train"), why_pending(pod)
    if train is None or why is None or why.reason != Training.IMAGE_PULL_FAILED or not needs_a_person(train):
        return None
    return why.message
