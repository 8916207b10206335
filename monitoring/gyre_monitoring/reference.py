"""What a window is compared with: a profile, or the Parquet one is made of."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from gyre_crds.contracts.profile import SCHEMA, Profile
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.drift import DriftMonitorSpec
from gyre_monitoring.errors import InputError
from gyre_monitoring.profile import Tables, build
from gyre_monitoring.store import Store

_MAGIC = b"PAR1"


def from_bytes(content: bytes, name: str, spec: DriftMonitorSpec, contract: Contract) -> tuple[Profile, Tables | None]:
    """The profile, and the reference rows where they are at hand.

    Raises:
        InputError: neither a profile nor Parquet.
    """
    if content[:4] == _MAGIC:
        tables = rows(content, name)
        codes = frozenset(one.name for one in spec.features if one.categorical)
        return build(tables, contract, categorical=codes), tables
    try:
        return Profile.model_validate(json.loads(content)), None
    except (ValidationError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{name} is neither Parquet nor a {SCHEMA}: {first}", reason="NoReference") from error


def rows(content: bytes, name: str) -> Tables:
    """Reference rows by batches; each call starts a new pass.

    Raises:
        InputError: no Parquet.
    """
    try:
        pq.ParquetFile(io.BytesIO(content))
    except pa.ArrowException as error:
        raise InputError(f"{name} is no readable Parquet: {error}", reason="NoReference") from error

    def tables() -> "list[pa.Table]":
        file = pq.ParquetFile(io.BytesIO(content))
        return [pa.Table.from_batches([batch]) for batch in file.iter_batches(65_536, use_threads=False)]

    return tables


def source_rows(store: Store, profile: Profile) -> Tables | None:
    """The rows a stored profile was made of, if it says where they are and they are still there."""
    if profile.source is None:
        return None
    try:
        return rows(store.read(profile.source), profile.source)
    except InputError:
        return None
