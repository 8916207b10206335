"""Who is looked at when something around a Model changes."""

from typing import Any

import pytest

from gyre_crds.v1alpha1 import InferenceService, ModelVersion
from gyre_operators.engine.watch import Watch
from gyre_operators.model.observe import SERVICES, VERSIONS
from tests.operators.builders import body, key, model, service, version
from tests.operators.model.conftest import Scene

OTHER = {**model(), "metadata": {**model()["metadata"], "name": "other", "uid": "uid-other"}}


@pytest.mark.parametrize(
    ("watch", "made", "wakes"),
    [
        pytest.param(VERSIONS, version("v1"), ["census"], id="a version wakes its Model"),
        pytest.param(SERVICES, service(), ["census"], id="a service wakes its Model"),
        pytest.param(
            VERSIONS, body(ModelVersion.KIND, "v1", {"model": 7}), ["census", "other"], id="an unreadable version"
        ),
        pytest.param(
            SERVICES,
            body(InferenceService.KIND, "census", {"model": 7}),
            ["census", "other"],
            id="an unreadable service",
        ),
    ],
)
def test_what_cannot_be_read_wakes_every_model(
    scene: Scene, watch: Watch[Any], made: dict[str, Any], wakes: list[str]
) -> None:
    """A Model stands still for it; deleting it woke nobody, and the Model went on after up to 17 minutes."""
    scene.put(model(), OTHER, made)
    entry = scene.town.stores.of(watch).entry(key(made["metadata"]["name"]))
    assert entry is not None
    assert sorted(set(watch.parents(entry, scene.town.stores))) == [key(name) for name in wakes]
