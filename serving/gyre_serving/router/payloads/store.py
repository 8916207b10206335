"""Opens the object store that parts go to."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.store import LocalStore, ObjectStore, from_url

from gyre_crds.contracts.store import StoreEnv

_OPTIONS = {
    StoreEnv.ENDPOINT: "endpoint",
    StoreEnv.REGION: "region",
    StoreEnv.ACCESS_KEY_ID: "access_key_id",
    StoreEnv.SECRET_ACCESS_KEY: "secret_access_key",
}


def open_store(uri: str, environment: Mapping[str, str] = os.environ) -> ObjectStore:
    """The store below `uri`, with the credentials that the environment carries.

    Raises:
        ValueError: when the scheme is unknown or a part of the coordinates is missing.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return LocalStore(prefix=Path(parts.path), mkdir=True)
    if parts.scheme != "s3":
        return from_url(uri)
    config: dict[str, Any] = {
        option: environment[variable] for variable, option in _OPTIONS.items() if environment.get(variable)
    }
    if config.get("endpoint", "").startswith("http://"):
        # The embedded store speaks plain HTTP inside the cluster; obstore refuses that unless told.
        return from_url(uri, config=config, client_options={"allow_http": True})
    return from_url(uri, config=config)
