"""Writes of children: apply what differs, create what runs once, delete what is not wanted."""

from collections import OrderedDict

from gyre_crds.reasons import Common
from gyre_operators.engine.differ import APPLIED, covers, digest, settled_digest, stamped
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.kinds import Kind
from gyre_operators.engine.plan import Key, Manifest, Ref, ref
from gyre_operators.engine.report import Refusal
from gyre_operators.engine.selectors import matches
from gyre_operators.engine.writer import RefusedError, Writer

_REMEMBERED = 10_000


class Children:
    """The children of one controller's objects. Each method says whether it changed anything."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._settled: OrderedDict[Ref, tuple[str, str]] = OrderedDict()
        """What applying led to, where comparing with the live object cannot tell."""

    async def apply(self, manifest: Manifest) -> bool:
        """Server-side apply, if the live object is not so already.

        Raises:
            RefusedError: the name belongs to something else, or the server says no.
        """
        kind, about = self._writer.granted(manifest, "patch"), ref(manifest)
        key, wanted = Key(about.namespace, about.name), stamped(manifest)
        live = await self._live(kind, key, manifest)
        mark = digest(wanted)
        if live is not None and self._is_so(about, live, wanted, mark):
            return False
        uid = manifest["metadata"].get("uid")
        if uid is None:
            await self._refuse_taken(kind, key, live, manifest)
        if uid is not None and (live is None or live["metadata"].get("uid") != uid):
            return False  # The very object is gone, and a part of it must not come alone.
        body = await self._writer.send(kind, "apply", wanted)
        self._note(about, body, wanted, mark)
        changed = live is None or settled_digest(live) != settled_digest(body)
        self._writer.count(kind, "apply", changed=changed)
        return changed

    async def create(self, manifest: Manifest) -> bool:
        """Create, or take what stands there already if it has the same owners.

        Raises:
            RefusedError: the name belongs to something else, or the server says no.
        """
        kind = self._writer.granted(manifest, "create")
        try:
            await self._writer.send(kind, "create", manifest)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await self._adopt(kind, manifest)
            return False
        self._writer.count(kind, "create")
        return True

    async def delete(self, gone: Ref) -> bool:
        """Delete, unless it is gone or going."""
        wanted = {"apiVersion": gone.api_version, "kind": gone.kind}
        kind = self._writer.granted(wanted, "delete")
        key = Key(gone.namespace, gone.name)
        known = [store.entry(key) for store in self._writer.stores.of_resource(kind)]
        if any(entry is not None and entry.deleting for entry in known):
            return False
        self._writer.check_fence()
        if not await self._writer.client.delete(kind, key, gone.uid):
            return False
        self._writer.count(kind, "delete")
        return True

    def _is_so(self, about: Ref, live: Manifest, wanted: Manifest, mark: str) -> bool:
        """Whether applying would change nothing.

        What the server rewrites in a way we cannot foresee never covers the manifest; then it
        counts that the same manifest led to this very object before.
        """
        stamp = wanted["metadata"].get("annotations", {}).get(APPLIED)
        told = (live["metadata"].get("annotations") or {}).get(APPLIED)
        if stamp is not None and stamp == told and covers(live, wanted):
            return True
        if stamp is None and covers(live, wanted):
            return self._settled.get(about, (mark, ""))[0] == mark
        return self._settled.get(about) == (mark, settled_digest(live))

    def _note(self, about: Ref, body: Manifest, wanted: Manifest, mark: str) -> None:
        self._settled.pop(about, None)
        if "uid" in wanted["metadata"] or not covers(body, wanted):
            self._settled[about] = (mark, settled_digest(body))
            if len(self._settled) > _REMEMBERED:
                self._settled.popitem(last=False)

    async def _adopt(self, kind: Kind, manifest: Manifest) -> None:
        about = ref(manifest)
        live = await self._writer.client.get(kind, Key(about.namespace, about.name))
        if live is None:
            raise ApiError(409, "Conflict", f"{about.kind} {about.name} came and went; once more")
        if not _same_owner(live, manifest):
            raise _taken(about)
        self._writer.remember(kind, live)

    async def _refuse_taken(self, kind: Kind, key: Key, live: Manifest | None, manifest: Manifest) -> None:
        """An apply is forced, and would turn a Service of somebody's program into ours, to be deleted with its owner.

        Stores hold what carries our labels, so for what is not in them the server is asked: once a child's life.
        """
        if not manifest["metadata"].get("ownerReferences"):
            return
        found = live or await self._writer.client.get(kind, key)
        if found is None or _same_owner(found, manifest):
            return
        # What a backup brought back has owners that are no more, and still our mark.
        if APPLIED not in (found["metadata"].get("annotations") or {}):
            raise _taken(ref(manifest))

    async def _live(self, kind: Kind, key: Key, manifest: Manifest) -> Manifest | None:
        """The live object from a store, or from the server where no store can tell."""
        for store in self._writer.stores.of_resource(kind):
            entry = store.entry(key)
            if entry is not None and entry.raw is not None:
                return entry.raw
            complete = store.source.type is dict and store.synced and not store.source.fields
            if complete and matches(store.source.labels, manifest["metadata"]):
                return None
        return await self._writer.client.get(kind, key)


def _taken(about: Ref) -> RefusedError:
    sentence = f"{about.kind} {about.name} exists and belongs to something else: delete it or rename this object"
    return RefusedError(Refusal(Common.NAME_TAKEN, sentence))


def _same_owner(live: Manifest, manifest: Manifest) -> bool:
    wanted = {o["uid"] for o in manifest["metadata"].get("ownerReferences", [])}
    found = {o["uid"] for o in live["metadata"].get("ownerReferences", [])}
    return wanted <= found
