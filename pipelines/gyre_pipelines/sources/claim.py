"""A path on a PersistentVolumeClaim, mounted read-only below /gyre/claims/<source name>.

A claim may be of any size, so it is pinned by digest and not copied.
"""

from pathlib import Path

from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.training import DataSource
from gyre_pipelines.failure import Failure
from gyre_pipelines.sources.base import Context, Fetched, copy_in, digest_of, listed, verify


def fetch(source: DataSource, context: Context) -> Fetched:
    """The file or directory on the claim.

    Raises:
        Failure: DataNotFound, DataAccessDenied, DataDigestMismatch.
    """
    claim = source.claim
    if claim is None:
        raise TypeError(f"data[{source.name}] names no claim")
    mount = context.layout.claim(source.name)
    origin = (mount / claim.path).resolve()
    uri = f"pvc://{claim.name}/{claim.path}"
    if not origin.is_relative_to(mount.resolve()) or not origin.exists():
        raise Failure(Training.DATA_NOT_FOUND, f"data[{source.name}].claim.path: {uri} holds nothing; check the path")
    folder = context.staging(source.name)
    try:
        _stage(origin, folder)
    except PermissionError as error:
        raise Failure(
            Training.DATA_ACCESS_DENIED,
            f"data[{source.name}]: {uri} may not be read by user 10001 ({error.filename}); change its mode",
        ) from error
    files = listed(folder)
    if not files:
        raise Failure(Training.DATA_NOT_FOUND, f"data[{source.name}].claim.path: {uri} holds no file")
    digest = digest_of(source.name, folder, single=origin.is_file())
    verify(source, context.pin(source.name), digest)
    return Fetched(source=source, folder=folder, files=files, uri=uri, digest=digest)


def _stage(origin: Path, folder: Path) -> None:
    if origin.is_file():
        copy_in(origin, folder / origin.name)
        return
    for path in listed(origin):
        copy_in(path, folder / path.relative_to(origin))
