"""Opens the object store that parts go to."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import LocalStore, ObjectStore, S3Store, from_url

from gyre_crds.contracts.store import StoreEnv

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

# Short, because parts are kept and tried again anyway, and the end of the process does not wait for ever.
_RETRY: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=5)}


def open_store(uri: str, environment: Mapping[str, str] = os.environ) -> ObjectStore:
    """The store below `uri`, with the credentials that the environment carries.

    Raises:
        ValueError: when the scheme is unknown or a part of the coordinates is missing.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return LocalStore(prefix=Path(parts.path), mkdir=True)
    if parts.scheme == "s3":
        return S3Store.from_url(
            uri, config=_config(environment), client_options=_client(environment), retry_config=_RETRY
        )
    return from_url(uri)


def _config(environment: Mapping[str, str]) -> "S3Config":
    """What the environment says; what it leaves out, the provider's own chain finds."""
    config: S3Config = {}
    if endpoint := environment.get(StoreEnv.ENDPOINT):
        config["endpoint"] = endpoint
    if region := environment.get(StoreEnv.REGION):
        config["region"] = region
    if key := environment.get(StoreEnv.ACCESS_KEY_ID):
        config["access_key_id"] = key
    if secret := environment.get(StoreEnv.SECRET_ACCESS_KEY):
        config["secret_access_key"] = secret
    return config


def _client(environment: Mapping[str, str]) -> "ClientConfig":
    # The embedded store speaks plain HTTP inside the cluster; obstore refuses that unless told.
    plain = environment.get(StoreEnv.ENDPOINT, "").startswith("http://")
    return {"allow_http": True} if plain else {}
