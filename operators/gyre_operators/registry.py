"""Which controllers run: one line each, `module:class`."""

import importlib
from typing import Any

from gyre_operators.engine.controller import Controller

CONTROLLERS = (
    "gyre_operators.model.controller:ModelController",
    "gyre_operators.training.controller:TrainingController",
    "gyre_operators.version.controller:VersionController",
    "gyre_operators.version.adopter:AdoptionController",
    "gyre_operators.inference.controller:InferenceController",
    "gyre_operators.router.controller:RouterController",
    "gyre_operators.drift.controller:DriftController",
    "gyre_operators.drift.reports:ReportController",
)


def load(lines: tuple[str, ...] = CONTROLLERS) -> tuple[type[Controller[Any]], ...]:
    """The controller classes, imported only now so that an import error names its line."""
    return tuple(_load(line) for line in lines)


def _load(line: str) -> type[Controller[Any]]:
    module, _, name = line.partition(":")
    controller: type[Controller[Any]] = getattr(importlib.import_module(module), name)
    return controller
