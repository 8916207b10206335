"""What the bench creates."""

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gyre_crds import names
from gyre_crds.contracts.attempt import PROGRESS_PORT, PublishReport, PublishResult
from gyre_crds.contracts.store import job_prefix

IMAGE, COMMAND = "registry.example/census:1", ["python3", "train.py"]
RUN_FOR = "localcluster.gyre.dev/run-for"
_LASTS = "2s"


def training_job(name: str, *, lasts: str = _LASTS) -> dict[str, Any]:
    """A TrainingJob as its user applies it; its pod "runs" for `lasts`.

    On the host's network kwok gives the pod an address at which the connection is refused at once;
    on its own it would be one that nobody answers. Its port goes, or one such pod would fill a node: the scheduler
    then says that no node fits, and that is a status more.
    """
    port = {"name": "train", "ports": [{"containerPort": PROGRESS_PORT, "$patch": "delete"}]}
    patch = {
        "metadata": {"annotations": {RUN_FOR: lasts}},
        "spec": {"hostNetwork": True, "containers": [port]},
    }
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {"model": "census", "image": IMAGE, "command": COMMAND, "podTemplatePatch": patch},
    }


def naive(name: str, *, lasts: str = _LASTS) -> dict[str, Any]:
    """The peer's object."""
    return {
        "apiVersion": "bench.gyre.dev/v1",
        "kind": "NaiveTraining",
        "metadata": {"name": name},
        "spec": {"image": IMAGE, "command": COMMAND, "podAnnotations": {RUN_FOR: lasts}},
    }


def bare(name: str) -> dict[str, Any]:
    """The Job that the peer makes, without the peer."""
    container = {"name": "train", "image": IMAGE, "command": COMMAND}
    template = {
        "metadata": {"annotations": {RUN_FOR: "2h"}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template},
    }


def publish(store: Path, job: Any, number: int) -> None:
    """Leave in the store what publish writes after a good training, with a digest of its own."""
    hexadecimal = hashlib.sha256(str(number).encode()).hexdigest()
    digest = f"sha256:{hexadecimal}"
    namespace, uid = job["metadata"]["namespace"], job["metadata"]["uid"]
    folder = f"s3://gyre/{namespace}"
    target = store / namespace / job_prefix(uid) / "result.json"
    report = PublishReport(
        tree_digest=digest,
        payload_digest=digest,
        uri=f"{folder}/sha256/{hexadecimal[:2]}/{hexadecimal[2:]}",
        result=f"{folder}/{job_prefix(uid)}/result.json",
        size=1234,
        run_id="run-1",
    )
    result = PublishResult(
        report=report, format="ONNX", metrics={"accuracy": 0.79}, trained_at="2026-11-20T10:05:00Z", cut_off=None
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result.dump()), encoding="utf-8")


@dataclass(frozen=True)
class Seeds:
    """One finished TrainingJob with its Job and pod, as patterns for many."""

    job: Any
    child: Any
    pod: Any

    def child_of(self, job: Any) -> dict[str, Any]:
        """The Job of another TrainingJob."""
        spec = copy.deepcopy(self.child["spec"])
        del spec["selector"]
        labels = self._labels(job)
        spec["template"]["metadata"]["labels"] = labels
        owner = {**self.child["metadata"]["ownerReferences"][0], "name": _name(job), "uid": job["metadata"]["uid"]}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"{_name(job)}-a1", "labels": labels, "ownerReferences": [owner]},
            "spec": spec,
        }

    def status_with(self, child: Any) -> dict[str, Any]:
        """The status of another TrainingJob."""
        status = copy.deepcopy(self.job["status"])
        status["attempts"][0] |= {"job": child["metadata"]["name"], "uid": child["metadata"]["uid"]}
        return dict(status)

    def pod_of(self, job: Any, child: Any, index: int) -> dict[str, Any]:
        """A pod of another TrainingJob."""
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": child["metadata"]["name"],
            "uid": child["metadata"]["uid"],
            "controller": True,
        }
        metadata = {
            "name": f"{child['metadata']['name']}-{index}",
            "labels": self._labels(job),
            "annotations": self.pod["metadata"].get("annotations", {}),
            "ownerReferences": [owner],
        }
        spec = {key: value for key, value in self.pod["spec"].items() if key not in ("nodeName", "hostname")}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _labels(self, job: Any) -> dict[str, str]:
        labels = self.child["metadata"]["labels"]
        return {**labels, names.TRAINING_JOB: _name(job)}


def _name(job: Any) -> str:
    return str(job["metadata"]["name"])
