"""The operator's settings: one typed YAML file, named by GYRE_SETTINGS."""

import os
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from gyre_crds.base import DurationText, Quantity, Uri

DEFAULT_PATH = "/etc/gyre/settings.yaml"


class SettingsError(Exception):
    """The settings file cannot be used; the text names file, field and problem."""


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


class StoreSettings(_Part):
    """The object store. Each namespace uses the prefix `<uri>/<namespace>`.

    The operator takes its own credential from its environment (AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, or the cloud's own names); pods take theirs from the namespace's Secret
    `gyre_crds.names.STORE_SECRET`.
    """

    uri: Uri = "s3://gyre"
    """`s3://bucket/prefix`, `gs://...`, `az://...` or `file:///directory`."""
    endpoint: str | None = None
    """S3 endpoint URL; None for the cloud's own."""
    region: str = "us-east-1"
    """S3 region."""


class MlflowSettings(_Part):
    """The model registry."""

    url: str = "http://gyre-mlflow:5000"
    """Base URL of MLflow's REST API."""
    public_url: str | None = None
    """What links in statuses start with; None means `url`."""


class ImageSettings(_Part):
    """The images of the other planes."""

    pipelines: str = "ghcr.io/gyre/pipelines:0.1.0"
    """Prepare, publish, gates."""
    serving: str = "ghcr.io/gyre/serving:0.1.0"
    """Router, built-in model server, the fetcher."""
    monitoring: str = "ghcr.io/gyre/monitoring:0.1.0"
    """Drift looks and profiles."""
    triton: str = "ghcr.io/gyre/triton:0.1.0"
    """Triton with Gyre's agent."""
    pull_policy: str = "IfNotPresent"
    """imagePullPolicy of all of them."""


class DefaultSettings(_Part):
    """What a pod gets when its object does not say."""

    cpu: Quantity = "1"
    """Request of a training container."""
    memory: Quantity = "2Gi"
    """Request and limit of a training container."""
    deadline: DurationText = "24h"
    """Longest life of one TrainingJob."""
    image_grace: DurationText = "5m"
    """How long a training waits for an image that its registry does not have or does not give."""


class RouterSettings(_Part):
    """The router that each namespace with an InferenceService gets."""

    replicas: Annotated[int, Field(ge=1, le=100)] = 2
    """Pods of each router; with one, its node's loss is an outage until it is replaced."""


class Settings(_Part):
    """The whole file."""

    namespaces: tuple[str, ...] = ()
    """The namespaces to work in; empty means all of the cluster."""
    namespace: str = Field(default_factory=lambda: os.environ.get("POD_NAMESPACE", "gyre-system"))
    """The operator's own namespace: the Lease lives here."""
    installation: str = "gyre"
    """Tells installations apart that share one MLflow or one store."""
    store: StoreSettings = StoreSettings()
    mlflow: MlflowSettings = MlflowSettings()
    images: ImageSettings = ImageSettings()
    defaults: DefaultSettings = DefaultSettings()
    router: RouterSettings = RouterSettings()
    freeze: bool = False
    """Write nothing but statuses: for incidents and migrations."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Serves /livez, /readyz and /metrics; 0 picks a free port."""
    leader_election: bool = True
    """Off only where exactly one replica can run, such as a laptop."""

    @classmethod
    def load(cls, path: str | None = None) -> Self:
        """Read `path`, else the file that GYRE_SETTINGS names, else the default path.

        A missing default file means all defaults.

        Raises:
            SettingsError: the file is missing, no YAML, or a field does not fit.
        """
        named = path or os.environ.get("GYRE_SETTINGS")
        file = Path(named or DEFAULT_PATH)
        if named is None and not file.exists():
            return cls()
        try:
            content = yaml.safe_load(file.read_text()) or {}
        except OSError as error:
            raise SettingsError(f"{file}: cannot be read ({error.strerror})") from error
        except yaml.YAMLError as error:
            raise SettingsError(f"{file}: is not YAML ({error})") from error
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise SettingsError(f"{file}: {where}: {first['msg']}") from error
