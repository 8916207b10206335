"""The object store at the version's tree, with the namespace's credential."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, from_url

from gyre_crds.contracts.store import StoreEnv
from gyre_crds.reasons import Common, Training, Version
from gyre_serving.pod.failure import Failure, one_line

_RETRY: Any = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=40),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
}


def open_tree(uri: str) -> ObjectStore:
    """A store whose root is the version's tree.

    Args:
        uri: `s3://`, `gs://`, `az://`, `https://` or `file://`.

    Raises:
        Failure: the URI or the credential cannot be used.
    """
    local = urlsplit(uri).scheme == "file"
    if local and not Path(urlsplit(uri).path).is_dir():
        raise Failure(Version.ARTIFACT_GONE, f"store URI {uri}: this machine has no such directory; mount it here")
    try:
        if local:
            return from_url(uri)
        return from_url(uri, client_options=_client(), retry_config=_RETRY, **_settings(uri))
    except (BaseError, ValueError) as error:
        raise Failure(Common.INVALID_SPEC, f"store URI {uri} cannot be used: {one_line(error)}") from error


def failed(error: Exception, uri: str) -> Failure:
    """What an exception of the store means for the pod, as a sentence."""
    if isinstance(error, (NotFoundError, FileNotFoundError)):
        return Failure(
            Version.ARTIFACT_GONE,
            f"the store holds no version at {uri}; publish it again or serve another version",
        )
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, PermissionError)):
        return Failure(
            Training.STORE_DENIED,
            f"the store's credential may not read {uri}; check Secret gyre-store",
        )
    return Failure(
        Common.STORE_UNREACHABLE,
        f"the store does not answer for {uri}: {one_line(error, 300)}",
        retry=True,
    )


def _settings(uri: str) -> dict[str, Any]:
    if urlsplit(uri).scheme != "s3":
        return {}
    names = {
        "endpoint": StoreEnv.ENDPOINT,
        "region": StoreEnv.REGION,
        "access_key_id": StoreEnv.ACCESS_KEY_ID,
        "secret_access_key": StoreEnv.SECRET_ACCESS_KEY,
    }
    given = {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}
    # An endpoint of one's own rarely resolves <bucket>.<host>.
    path_style = {"virtual_hosted_style_request": False} if "endpoint" in given else {}
    return {"region": "us-east-1", **given, **path_style}


def _client() -> Any:
    plain = os.environ.get(StoreEnv.ENDPOINT, "").startswith("http://")
    return {"allow_http": plain, "connect_timeout": timedelta(seconds=5), "timeout": timedelta(minutes=30)}
