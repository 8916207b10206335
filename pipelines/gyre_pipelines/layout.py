"""The shared volume of an attempt, relocatable: `$GYRE_ROOT` instead of /gyre for tests and laptops."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gyre_crds.contracts.attempt import Path as Place

ROOT_ENV = "GYRE_ROOT"


@dataclass(frozen=True)
class Layout:
    """Where the contract's files are under this root."""

    root: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Layout":
        """The layout that the environment names; /gyre without one."""
        return cls(Path(environment.get(ROOT_ENV) or Place.ROOT.value))

    def place(self, path: str) -> Path:
        """A path of the contract below this root; a path outside of /gyre stays as it is."""
        pure = PurePosixPath(path)
        if pure.is_relative_to(Place.ROOT.value):
            return self.root / pure.relative_to(Place.ROOT.value)
        return Path(path)

    def data(self, name: str) -> Path:
        """Training rows of one source."""
        return self.place(Place.DATA) / name

    def claim(self, name: str) -> Path:
        """Where the PersistentVolumeClaim of the source `name` is mounted, read-only."""
        return self.place(Place.CLAIMS) / name

    @property
    def scratch(self) -> Path:
        """Files that only one container needs while it works."""
        return self.root / "scratch"

    @property
    def runs(self) -> Path:
        """Local MLflow runs of a training that logs without a tracking server of its own."""
        return self.root / "mlruns"
