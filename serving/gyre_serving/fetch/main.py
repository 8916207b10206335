"""Init container `fetch`: the version's tree below the model root, verified and laid out."""

import argparse
import os
import secrets
import sys
import time

from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.reasons import Inference
from gyre_serving.fetch.download import download, volume_failure
from gyre_serving.pod.failure import Failure, report
from gyre_serving.pod.order import Places, order, places

ENVIRONMENT_ENV = "GYRE_TRITON_ENVIRONMENT"


def main(arguments: list[str]) -> int:
    """Fetch what `GYRE_FETCH` names and lay it out.

    Returns:
        0, EXIT_USER when the version cannot be had or served, EXIT_INFRA when trying again can help.
    """
    argparse.ArgumentParser(
        prog="gyre-serving fetch",
        description="Fetch the version that GYRE_FETCH (FetchOrder as JSON) names to GYRE_MODEL_ROOT (/models), "
        "verify its digest and lay it out for its runtime. The store is read from GYRE_STORE_*. "
        f"{ENVIRONMENT_ENV}: directory of the Python environment that Triton runs models in, in its own container; "
        "without it, the first python3 on its PATH.",
    ).parse_args(arguments)
    try:
        told, where = order(), places()
        started = time.monotonic()
        manifest = download(told.uri, told.digest, where.tree)
        if told.runtime == "Triton":
            lay_out(told, where)
    except Failure as failure:
        return report(failure)
    except OSError as error:  # laying out writes too, and any of it may meet a full disk
        return report(volume_failure(error))
    sys.stdout.write(
        f"fetched {told.version}: {len(manifest.files)} files, {manifest.size} bytes, "
        f"{told.digest} verified in {time.monotonic() - started:.2f} s\n"
    )
    return 0


def lay_out(told: FetchOrder, where: Places) -> None:
    """Render Triton's repository and the key to its administrative APIs.

    Raises:
        Failure: the version cannot be served by Triton.
    """
    if told.format != "ONNX":
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"{told.version} has format {told.format}, Triton serves ONNX; set spec.runtime.kind: Python",
        )
    # A third of this process's start, and the built-in server needs none of it.
    from gyre_serving.golden.signature import of_version  # noqa: PLC0415
    from gyre_serving.triton.config import Options  # noqa: PLC0415
    from gyre_serving.triton.repository import render  # noqa: PLC0415

    options = Options(environment=os.environ.get(ENVIRONMENT_ENV) or None)
    render(told, of_version(where.tree), tree=where.tree, repository=where.repository, options=options)
    if not where.key.exists():
        # A full volume leaves an empty file behind, and an empty key would open the APIs to everyone.
        partial = where.key.with_suffix(".partial")
        partial.write_text(secrets.token_hex(32))
        partial.chmod(0o600)
        partial.rename(where.key)
