"""Between a version's plan and MLflow: looks that are cached for a moment, and the effects."""

from datetime import timedelta
from typing import NamedTuple

from gyre_operators.engine.clock import Clock
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.plan import Effect, Key
from gyre_operators.registry_client.mlflow import Mlflow
from gyre_operators.registry_client.types import RegisteredVersion, Registration, RegistryRefusedError
from gyre_operators.version.effects import Record, Register
from gyre_operators.version.recording import identity_of, is_entry_of, model_name
from gyre_operators.version.seen import Entry, Observed, Registry, RegistryAway, RegistryRefusal

_FRESH = timedelta(seconds=20)
"""A version that serves is reconciled with every change of its service; MLflow is not asked that often."""
_REFUSED = timedelta(seconds=60)
_REMEMBERED = 4096


class _Look(NamedTuple):
    at: float
    entry: Entry


class _No(NamedTuple):
    at: float
    refusal: RegistryRefusal


class RegistryDesk:
    """Asks and tells MLflow for all versions."""

    def __init__(self, mlflow: Mlflow, clock: Clock) -> None:
        self._mlflow = mlflow
        self._clock = clock
        self._looks: dict[Key, _Look] = {}
        self._refused: dict[Key, _No] = {}

    async def look(self, seen: Observed) -> Registry:
        """What the registry has of a version."""
        key, now = _key(seen), self._clock().timestamp()
        no = self._refused.get(key)
        if no is not None and now - no.at < _REFUSED.total_seconds():
            return no.refusal
        was = self._looks.get(key)
        if was is not None and now - was.at < _FRESH.total_seconds():
            return was.entry
        try:
            version, doubled = await self._find(seen)
        except UnavailableError as error:
            return RegistryAway(str(error))
        except RegistryRefusedError as error:
            return RegistryRefusal(error.reason, error.sentence)
        entry = Entry(version, self._mlflow.link(version.name, version.number) if version else "", doubled=doubled)
        if version is not None:
            self._looks[key] = _Look(now, entry)
            if len(self._looks) > _REMEMBERED:
                del self._looks[next(iter(self._looks))]
        return entry

    async def _find(self, seen: Observed) -> tuple[RegisteredVersion | None, bool]:
        """The version's entry, and whether there are more."""
        registered, source = seen.status.registry, seen.version.spec.source.mlflow
        if source is not None:
            return await self._mlflow.version(source.name, source.version), False
        if registered is not None:
            known = await self._mlflow.version(registered.name, registered.version)
            if known is not None and is_entry_of(seen, known):
                return known, False
        found = await self._mlflow.find(model_name(seen), identity_of(seen))
        # A search lists no aliases.
        lowest = await self._mlflow.version(found[0].name, found[0].number) if found else None
        return lowest, len(found) > 1

    async def perform(self, effect: Effect) -> None:
        """Carry out one effect.

        Raises:
            UnavailableError: MLflow is away.
        """
        if not isinstance(effect, Register | Record):
            raise TypeError(f"{effect!r} is no effect on the registry")
        self._looks.pop(effect.key, None)
        try:
            if isinstance(effect, Register):
                await self._register(effect)
            else:
                await self._record(effect)
        except RegistryRefusedError as error:
            # The next look repeats it to the plan; waiting does not cure it, so nothing is raised.
            self._refused[effect.key] = _No(self._clock().timestamp(), RegistryRefusal(error.reason, error.sentence))

    async def _register(self, effect: Register) -> None:
        await self._mlflow.register(
            Registration(
                name=effect.name,
                source=effect.source,
                tags=dict(effect.tags),
                run_id=effect.run_id,
                description=f"ModelVersion {effect.key.name} in namespace {effect.key.namespace}",
            ),
        )

    async def _record(self, effect: Record) -> None:
        for key, value in effect.tags:
            await self._mlflow.set_tag(effect.name, effect.number, key, value)
        for key in effect.untag:
            await self._mlflow.delete_tag(effect.name, effect.number, key)
        for alias in effect.aliases:
            await self._mlflow.set_alias(effect.name, alias, effect.number)
        for alias in effect.drop:
            await self._mlflow.delete_alias(effect.name, alias)


def _key(seen: Observed) -> Key:
    return Key(seen.version.metadata.namespace, seen.version.metadata.name)
