"""Valid manifests of every kind, and small damages to them: the raw material of the verdict tests."""

import copy
import random
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_DIGEST = "sha256:" + "ab" * 32
_TIME = "2026-01-01T00:00:00Z"

SPECS: dict[str, Json] = {
    "Model": {
        "contract": {
            "key": "id",
            "time": "time",
            "label": {"column": "employed", "maturity": "1h30m"},
            "features": ["AGEP", "SEX"],
            "categories": [{"feature": "SEX", "values": ["1", "2", ""]}],
            "objective": {"metric": "accuracy", "minGain": 0.1},
        },
        "training": {
            "template": {
                "image": "example/train:1",
                "command": ["python", "train.py"],
                "data": [{"name": "base", "uri": "s3://b/x.parquet", "holdout": 0.1, "sha256": _DIGEST}],
                "gpu": {"count": 1, "memory": "10Gi"},
                "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            },
            "triggers": [{"type": "Schedule", "schedule": {"cron": "0 3 * * 1", "timeZone": "Europe/Berlin"}}],
            "decision": {"costPerRun": 2.5, "cooldown": "1d", "budget": {"runs": 3, "per": "7d"}, "approval": True},
        },
        "gates": [{"name": "accuracy", "type": "Metric", "metric": "accuracy", "min": 0.7}],
        "promotion": {"mode": "Manual", "provenBy": "census"},
        "aliases": {"champion": "census-ab12"},
        "retention": {"keep": 3},
    },
    "TrainingJob": {
        "model": "census",
        "image": "example/train:1",
        "command": ["python", "train.py"],
        "env": [
            {"name": "PLAIN", "value": "1"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "data": [
            {"name": "base", "claim": {"name": "data", "path": "train"}},
            {"name": "recent", "from": {"inferenceService": "census", "window": "14d", "minRows": 10}, "holdout": 0.3},
        ],
        "params": {"learningRate": 0.1},
        "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "2Gi", "cpu": 2}},
        "retry": {"limit": 3, "backoff": "5s"},
        "checkpoint": {"path": "/ckpt", "every": "10s"},
        "progress": {"timeout": "10m"},
        "deadline": "2h",
        "trigger": {"type": "Drift", "decision": "d1", "report": "r1"},
    },
    "ModelVersion": {
        "model": "census",
        "source": {"uri": "s3://b/sha256/ab/cd"},
        "digest": _DIGEST,
        "signature": {
            "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 2], "columns": ["a", "b"]}],
            "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
            "prediction": {"output": "label", "task": "Classification"},
        },
        "metrics": {"accuracy": 0.79},
        "lineage": {"job": "census-1", "data": [{"name": "base", "uri": "s3://b/x", "digest": _DIGEST, "rows": 10}]},
        "approvals": [{"user": "eva", "at": _TIME, "comment": "looks right"}],
    },
    "InferenceService": {
        "model": {"name": "census", "alias": "champion"},
        "runtime": {"kind": "Python"},
        "replicas": 2,
        "rollout": {
            "strategy": "Canary",
            "steps": [{"weight": 10, "minRequests": 50}, {"weight": 100}],
            "analysis": {"alpha": 0.05, "margin": 0.02},
        },
        "traffic": {"sticky": {"header": "x-user"}},
        "payloads": {"sample": 0.5, "redact": ["name"], "flushEvery": "10s"},
        "limits": {"maxBody": 2048, "concurrency": 8},
        "auth": {"mtls": {"allow": [{"commonName": "web"}]}},
    },
    "DriftMonitor": {
        "target": {"inferenceService": "census"},
        "window": {"every": "1h", "minRows": 500},
        "features": [{"name": "AGEP", "min": 0, "max": 120, "weight": 2, "method": "PSI"}],
        "segments": ["SEX"],
        "quality": {"missingIncrease": 0.1},
        "falseAlarmRate": 0.01,
        "engine": "Both",
    },
    "DriftReport": {
        "monitor": "census",
        "window": {"start": _TIME, "end": _TIME, "rows": 1000},
        "verdict": "CovariateShift",
        "level": "P2",
        "reason": "AGEP moved.",
        "mayAct": True,
        "columns": [{"name": "AGEP", "method": "PSI", "score": 0.28, "drifted": True}],
        "performance": {"metric": "accuracy", "labels": 10},
        "artifacts": {"json": "s3://b/r.json"},
    },
}

# Values that some field refuses: wrong types, empty, too long, out of range, of a wrong form.
_PROBES: tuple[Any, ...] = (
    "", "x" * 64, "x" * 5000, "Upper Case", "-dash", "10", "1h", "10 minutes", "sha256:zz", "s3://", "2Gi", "2 GB",
    0, -1, 1, 3, 101, 10**9, 0.5, 1.5, -0.1, True, False, [], {}, ["a"], [{}], {"a": "b"}, {"name": "x"}, "Canary",
    "Metric", "Schedule",
)  # fmt: skip


def manifest(kind: str, spec: Json, name: str = "sample") -> Json:
    """A whole object."""
    return {"apiVersion": "gyre.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def damaged(seed: int, count: int) -> Iterator[Json]:
    """`count` manifests of all kinds, most of them with one or two damages, the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311  repeatable test data
    kinds = sorted(SPECS)
    for index in range(count):
        kind = kinds[index % len(kinds)]
        whole = manifest(kind, copy.deepcopy(SPECS[kind]), dice.choice(["sample", "s" * 41, "s" * 49]))
        for _ in range(dice.choice([0, 1, 1, 1, 2])):
            _damage(whole["spec"], dice)
        yield whole


def _damage(spec: Json, dice: random.Random) -> None:
    holder, key = dice.choice(list(_places(spec)))
    match dice.randrange(4):
        case 0 if isinstance(holder, dict):
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder["unknownField"] = 1
        case _:
            holder[key] = copy.deepcopy(dice.choice(_PROBES))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield node, key
        yield from _places(value)
