"""`gyre-serving router`: the command line."""

import argparse
import logging
import os
import secrets
import sys
from pathlib import Path

from gyre_crds.contracts.routing import CONTROL_PORT, DATA_PORT, GRPC_PORT, GRPC_TLS_PORT, TLS_PORT
from gyre_serving.ports import port
from gyre_serving.router.app import Settings, default_pod, serve
from gyre_serving.router.auth.tls import TlsFiles, check
from gyre_serving.router.processes import serve_processes
from gyre_serving.router.sources.file import check_start
from gyre_serving.router.sources.kubernetes import Access
from gyre_serving.router.tuning import tune

FEEDBACK_KEY = "GYRE_FEEDBACK_KEY"

logger = logging.getLogger(__name__)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gyre-serving router",
        description="Route Open Inference Protocol requests to model versions by a table.",
        epilog=f"Environment: {FEEDBACK_KEY} signs feedback ids (one key for all routers of a namespace); "
        "GYRE_STORE_ENDPOINT, GYRE_STORE_REGION, GYRE_STORE_ACCESS_KEY_ID and GYRE_STORE_SECRET_ACCESS_KEY reach the "
        "object store of the payload log; GYRE_POD_UID names the router in its counters.",
    )
    parser.add_argument("--table", type=Path, help="routing table (JSON), watched; without it Kubernetes is watched")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104  a Pod
    parser.add_argument("--port", type=port, default=DATA_PORT, help="data port, 0 for a free one (%(default)s)")
    parser.add_argument("--control-port", type=port, default=CONTROL_PORT, help="control port (%(default)s)")
    parser.add_argument(
        "--grpc-port",
        type=port,
        metavar="PORT",
        help=f"serve gRPC V2 there too, 0 for a free one; {GRPC_PORT} in a cluster (without it: no gRPC)",
    )
    _add_tls(parser)
    parser.add_argument(
        "--processes", type=int, default=1, help="processes that share the data port, one a core (%(default)s)"
    )
    parser.add_argument(
        "--drain-delay",
        type=float,
        default=5.0,
        help="seconds to go on taking requests after SIGTERM, until nobody sends any more (%(default)s)",
    )
    parser.add_argument(
        "--drain-timeout", type=float, default=30.0, help="most seconds for running requests to end (%(default)s)"
    )
    return parser


def _add_tls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM): opens the TLS port")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key (PEM)")
    parser.add_argument(
        "--client-ca", type=Path, metavar="FILE", help="authorities (PEM) of the certificates that clients may show"
    )
    parser.add_argument(
        "--tls-directory",
        type=Path,
        metavar="DIR",
        help="instead: tls.crt, tls.key and ca.crt, as in a mounted Secret; they may come later",
    )
    parser.add_argument("--tls-port", type=port, default=TLS_PORT, help="data port over TLS (%(default)s)")
    parser.add_argument(
        "--grpc-tls-port",
        type=port,
        default=GRPC_TLS_PORT,
        help="gRPC over TLS, with --grpc-port (%(default)s)",
    )


def _tls(given: argparse.Namespace) -> TlsFiles | None:
    """Where the certificates are.

    Raises:
        ValueError: the options do not fit together, or a file cannot be used.
    """
    named = {"--tls-cert": given.tls_cert, "--tls-key": given.tls_key, "--client-ca": given.client_ca}
    if given.tls_directory is not None:
        if any(named.values()):
            raise ValueError("give --tls-directory, or --tls-cert and --tls-key, not both")
        return TlsFiles.in_directory(given.tls_directory)
    if not any(named.values()):
        return None
    if given.tls_cert is None or given.tls_key is None:
        raise ValueError("give --tls-cert and --tls-key together; --client-ca needs them too")
    for option, file in named.items():
        if file is not None and not file.is_file():
            raise ValueError(f"{option}: there is no file {file}")
    files = TlsFiles(given.tls_cert, given.tls_key, given.client_ca)
    check(files)
    return files


def settings(given: argparse.Namespace) -> Settings:
    """Settings from the command line and the environment.

    Raises:
        ValueError: when there is neither a file nor a cluster, or options do not fit together.
    """
    if given.processes < 1:
        raise ValueError("--processes: give 1 or more")
    tls = _tls(given)
    if given.table is not None:
        check_start(given.table)
    access = None if given.table is not None else Access.in_cluster(os.environ)
    key = os.environ.get(FEEDBACK_KEY, "")
    if not key:
        logger.warning("%s is not set: feedback ids are signed with a key of this process alone", FEEDBACK_KEY)
    return Settings(
        host=given.host,
        port=given.port,
        control_port=given.control_port,
        table=given.table,
        access=access,
        namespace=access.namespace if access else "",
        pod=default_pod(),
        feedback_key=key or secrets.token_hex(32),
        drain_delay=given.drain_delay,
        drain_timeout=given.drain_timeout,
        tls=tls,
        tls_port=given.tls_port,
        grpc_port=given.grpc_port,
        grpc_tls_port=given.grpc_tls_port,
    )


def main(arguments: list[str]) -> int:
    """Run the router; 2 when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        given = _parser().parse_args(arguments)
        chosen = settings(given)
        tune()
        if given.processes > 1:
            serve_processes(chosen, given.processes)
        else:
            serve(chosen)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"gyre-serving router: {error}\n")
        return 2
    return 0
