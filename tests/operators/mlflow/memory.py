"""A registry in memory with the manners of MLflow's; the contract tests hold it to the real one."""

from collections.abc import Mapping
from dataclasses import replace

from gyre_operators.engine.guard import UnavailableError
from gyre_operators.registry_client.types import ID, RegisteredVersion, Registration


class MemoryRegistry:
    """Stands in for `registry_client.mlflow.Mlflow`."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, RegisteredVersion]] = {}
        self.highest: dict[str, int] = {}
        self.away = False
        self.writes = 0

    def _ask(self) -> None:
        if self.away:
            raise UnavailableError("MLflow", "it is switched off")

    def link(self, name: str, number: str) -> str:
        """See `Mlflow.link`."""
        return f"memory://{name}/{number}"

    async def version(self, name: str, number: str) -> RegisteredVersion | None:
        """See `Mlflow.version`."""
        self._ask()
        return self.models.get(name, {}).get(number)

    async def find(self, name: str, identity: str) -> list[RegisteredVersion]:
        """See `Mlflow.find`."""
        return [each for each in await self.versions(name) if each.tags.get(ID) == identity]

    async def versions(self, name: str) -> list[RegisteredVersion]:
        """See `Mlflow.versions`."""
        self._ask()
        # A search of MLflow's lists no aliases.
        found = (replace(each, aliases=()) for each in self.models.get(name, {}).values())
        return sorted(found, key=lambda each: each.order)

    async def aliases(self, name: str) -> Mapping[str, str]:
        """See `Mlflow.aliases`."""
        self._ask()
        return {alias: each.number for each in self.models.get(name, {}).values() for alias in each.aliases}

    async def register(self, wanted: Registration) -> RegisteredVersion:
        """See `Mlflow.register`."""
        found = await self.find(wanted.name, wanted.tags[ID])
        if not found:
            number = self.highest.get(wanted.name, 0) + 1
            self.highest[wanted.name] = number
            made = RegisteredVersion(wanted.name, str(number), wanted.source, wanted.run_id, dict(wanted.tags))
            self.models.setdefault(wanted.name, {})[str(number)] = made
            self.writes += 1
            found = [made]
        for double in found[1:]:
            await self.delete(double.name, double.number)
        return found[0]

    async def delete(self, name: str, number: str) -> None:
        """See `Mlflow.delete`."""
        self._ask()
        self.models.get(name, {}).pop(number, None)

    async def set_tag(self, name: str, number: str, key: str, value: str) -> None:
        """See `Mlflow.set_tag`."""
        self._change(name, number, tags={**self.models[name][number].tags, key: value})

    async def delete_tag(self, name: str, number: str, key: str) -> None:
        """See `Mlflow.delete_tag`."""
        tags = {k: v for k, v in self.models[name][number].tags.items() if k != key}
        self._change(name, number, tags=tags)

    async def set_alias(self, name: str, alias: str, number: str) -> None:
        """See `Mlflow.set_alias`."""
        await self.delete_alias(name, alias)
        self._change(name, number, aliases=tuple(sorted({*self.models[name][number].aliases, alias})))

    async def delete_alias(self, name: str, alias: str) -> None:
        """See `Mlflow.delete_alias`."""
        self._ask()
        for each in list(self.models.get(name, {}).values()):
            if alias in each.aliases:
                self._change(name, each.number, aliases=tuple(a for a in each.aliases if a != alias))

    def _change(self, name: str, number: str, **changes: object) -> None:
        self._ask()
        self.writes += 1
        self.models[name][number] = replace(self.models[name][number], **changes)  # type: ignore[arg-type]
