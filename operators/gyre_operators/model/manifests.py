"""The TrainingJob that a decision makes. Pure."""

from gyre_crds import names
from gyre_crds.base import API_VERSION
from gyre_crds.v1alpha1.model import DecisionStatus, Model
from gyre_crds.v1alpha1.training import Trigger
from gyre_operators.engine.plan import Manifest
from gyre_operators.workload.template import meta


def training_job(model: Model, decision: DecisionStatus) -> Manifest:
    """The template of the Model, with the model's name and why it runs; named by the decision.

    Raises:
        ValueError: the Model has no template, or the decision makes no job.
    """
    if model.spec.training is None or decision.job is None:
        raise ValueError(f"decision {decision.id} of Model {model.metadata.name} makes no job")
    trigger = Trigger(type=decision.trigger, decision=decision.id, report=decision.report)
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingJob",
        "metadata": meta(model, decision.job, {names.MODEL: model.metadata.name}),
        "spec": {
            **model.spec.training.template.dump(),
            "model": model.metadata.name,
            "trigger": trigger.dump(),
        },
    }
