"""`gyre-pipelines verify`: digest a stored version again; one flipped byte is named."""

from collections.abc import Mapping

from gyre_crds.contracts.artifact import MANIFEST, first_difference
from gyre_crds.contracts.task import VerifyOrder, VerifyReport
from gyre_pipelines import trees
from gyre_pipelines.objects import Store


def run(order: VerifyOrder, environment: Mapping[str, str]) -> VerifyReport:
    """Whether the stored bytes still have the version's digest.

    Raises:
        Failure: the store does not answer or refuses.
    """
    store = Store.of(environment)
    prefix = store.path_of(order.uri.rstrip("/"))
    if prefix is None:
        return VerifyReport(verified=False, message=f"{order.uri} is not in the namespace's store {store.uri}")
    known = trees.read_manifest(store, prefix)
    if known is None:
        return VerifyReport(
            verified=False, message=f"{MANIFEST} is missing from {order.uri}: the store lost the version"
        )
    found = trees.digest_stored(store, prefix)
    difference = first_difference(known, found)
    if difference is not None:
        return VerifyReport(verified=False, message=f"{order.uri}: {difference}")
    if found.tree_digest != order.digest:
        # The manifest was rewritten together with the bytes, so only the digest outside of the store can tell.
        message = (
            f"{order.uri}: the tree and its {MANIFEST} have digest {found.tree_digest}, the version {order.digest}"
        )
        return VerifyReport(verified=False, message=message)
    return VerifyReport(verified=True)
