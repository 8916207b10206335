"""A checkpoint directory that survives attempts: finished files go to the store, and come back first."""

from dataclasses import dataclass, field
from pathlib import Path

from gyre_crds.contracts.store import checkpoint_prefix
from gyre_pipelines.objects import Store
from gyre_pipelines.sources.base import listed

_UNFINISHED = (".tmp", ".partial", ".part")


def restore(store: Store, job_uid: str, folder: Path) -> int:
    """Fetch the job's checkpoints into the folder, writable for the user's container; returns the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    prefix = checkpoint_prefix(job_uid)
    entries = store.list(prefix)
    for entry in entries:
        target = folder / entry.path.removeprefix(prefix + "/")
        store.download(entry.path, target)
        target.chmod(0o666)
        for parent in target.relative_to(folder).parents:
            (folder / parent).chmod(0o777)
    return len(entries)


@dataclass
class Mirror:
    """Keeps the store's copy of a checkpoint directory up to date.

    A file counts as finished when two looks in a row saw the same size and time, and its name does
    not say otherwise. Older files go first, so a file that points at others is copied after them.
    """

    store: Store
    job_uid: str
    folder: Path
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    _copied: dict[str, tuple[int, int]] = field(default_factory=dict)

    def look(self, *, final: bool = False) -> int:
        """Copy what is finished, drop what the training dropped; returns the number of files copied.

        `final`: the training has ended, so every file is as finished as it will be.
        """
        now = self._state()
        ready = [name for name, state in now.items() if final or self._seen.get(name) == state]
        fresh = [name for name in ready if self._copied.get(name) != now[name]]
        for name in sorted(fresh, key=lambda name: (now[name][1], name)):
            if self._upload(name):
                self._copied[name] = now[name]
        for name in [name for name in self._copied if name not in now]:
            self.store.delete(self._key(name))
            del self._copied[name]
        self._seen = now
        return len(fresh)

    def _upload(self, name: str) -> bool:
        try:
            self.store.upload(self.folder / name, self._key(name))
        except FileNotFoundError:
            return False
        return True

    def _key(self, name: str) -> str:
        return f"{checkpoint_prefix(self.job_uid)}/{name}"

    def _state(self) -> dict[str, tuple[int, int]]:
        state = {}
        for path in listed(self.folder) if self.folder.is_dir() else []:
            if path.name.endswith(_UNFINISHED):
                continue
            try:
                info = path.stat()
            except FileNotFoundError:
                continue
            state[path.relative_to(self.folder).as_posix()] = (info.st_size, info.st_mtime_ns)
        return state
