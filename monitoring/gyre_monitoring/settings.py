"""monitor.yaml: the DriftMonitor's spec on a laptop; an empty file is a useful one."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.drift import DriftMonitorSpec
from gyre_monitoring.errors import InputError

_CONTRACT: dict[str, Any] = {"key": "id", "label": {"column": "label"}}


def read(path: Path | None) -> tuple[DriftMonitorSpec, Contract]:
    """The monitor's spec, and under `contract` the Model's contract.

    Raises:
        InputError: no YAML, or a field that does not fit.
    """
    body = _body(path)
    contract = body.pop("contract", {}) or {}
    body = body.pop("spec", body) or {}  # a whole DriftMonitor manifest works too
    if not isinstance(body, dict) or not isinstance(contract, dict):
        raise InputError(f"{path}: write fields of a DriftMonitor's spec, and the Model's under contract:")
    try:
        spec = DriftMonitorSpec.model_validate({"target": {"inferenceService": "local"}} | body, by_alias=True)
        return spec, Contract.model_validate(_CONTRACT | contract, by_alias=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(one) for one in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}") from error


def _body(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML: {str(error).splitlines()[0]}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: write fields of a DriftMonitor's spec, one a line")
    return loaded
