"""A small asynchronous client for the dozen MLflow endpoints that Gyre needs.

MLflow's own client is blocking, pulls 600 MB, and repeats a POST that the server may have carried
out: one registration through a flaky proxy becomes three versions. Here only reads are repeated,
and a creation is guarded by a tag that is searched for before and after.

Works against MLflow 2.9 and later (aliases). Stages are never used, `mlflow gc` is never called.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from gyre_crds.reasons import Common, Version
from gyre_operators.engine.guard import Guard, UnavailableError
from gyre_operators.registry_client.types import ID, RegisteredVersion, Registration, RegistryRefusedError

_API = "/api/2.0/mlflow"
_REPEAT_AFTER = (0.2, 0.6)
_PAGE = 200
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_PROMPT = "mlflow.prompt.is_prompt"


class _TransientError(Exception):
    """The server, or something in front of it, could not answer this time."""


class _AnswerError(Exception):
    """An error answer of MLflow's own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class Mlflow:
    """The registry at one base URL.

    Every method raises `UnavailableError` when MLflow is away, and `RegistryRefusedError` when it
    answers with a refusal that waiting does not cure.
    """

    def __init__(
        self, http: aiohttp.ClientSession, url: str, *, public_url: str | None = None, guard: Guard | None = None
    ) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._public = (public_url or url).rstrip("/")
        self._guard = guard or Guard("MLflow", timeout=10.0)

    def link(self, name: str, number: str) -> str:
        """Where a person opens a version."""
        return f"{self._public}/#/models/{name}/versions/{number}"

    async def version(self, name: str, number: str) -> RegisteredVersion | None:
        """One version with its tags and aliases; None when there is none."""
        body = await self._get("model-versions/get", {"name": name, "version": number})
        return _version(body["model_version"]) if body is not None else None

    async def find(self, name: str, identity: str) -> list[RegisteredVersion]:
        """The versions of a registered model that carry an idempotency key, lowest number first."""
        return await self._search(f"name = '{name}' AND tags.`{ID}` = '{identity}'")

    async def versions(self, name: str) -> list[RegisteredVersion]:
        """All versions of a registered model, lowest number first; none when there is no such model."""
        return await self._search(f"name = '{name}'")

    async def aliases(self, name: str) -> Mapping[str, str]:
        """Alias to version number; empty when there is no such registered model."""
        body = await self._get("registered-models/get", {"name": name})
        found = body["registered_model"].get("aliases", []) if body is not None else []
        return {each["alias"]: str(each["version"]) for each in found}

    async def register(self, wanted: Registration) -> RegisteredVersion:
        """The one version with the registration's key: found, or made and found.

        Safe to repeat and to run twice at once: after convergence one version is left, the lowest.
        """
        identity = wanted.tags[ID]
        found = await self.find(wanted.name, identity)
        if not found:
            await self._ensure_model(wanted.name)
            try:
                await self._create(wanted)
            except UnavailableError:
                # The answer is lost, the version may stand all the same.
                found = await self.find(wanted.name, identity)
                if not found:
                    raise
            found = found or await self.find(wanted.name, identity)
        if not found:
            raise UnavailableError("MLflow", f"the version of {wanted.name} just made cannot be found yet")
        for double in found[1:]:
            await self.delete(double.name, double.number)
        return found[0]

    async def delete(self, name: str, number: str) -> None:
        """Remove a version; gone already is fine."""
        await self._send("DELETE", "model-versions/delete", {"name": name, "version": number})

    async def set_tag(self, name: str, number: str, key: str, value: str) -> None:
        """Set one tag of a version."""
        await self._send(
            "POST", "model-versions/set-tag", {"name": name, "version": number, "key": key, "value": value}
        )

    async def delete_tag(self, name: str, number: str, key: str) -> None:
        """Remove one tag of a version; gone already is fine."""
        await self._send("DELETE", "model-versions/delete-tag", {"name": name, "version": number, "key": key})

    async def set_alias(self, name: str, alias: str, number: str) -> None:
        """Point an alias at a version, wherever it pointed before."""
        await self._send("POST", "registered-models/alias", {"name": name, "alias": alias, "version": number})

    async def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; gone already is fine."""
        await self._send("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    async def _ensure_model(self, name: str) -> None:
        body = await self._get("registered-models/get", {"name": name})
        if body is None:
            try:
                await self._send("POST", "registered-models/create", {"name": name})
            except RegistryRefusedError:
                # Two versions of a new model: the other one was first.
                body = await self._get("registered-models/get", {"name": name})
                if body is None:
                    raise
        tags = {tag["key"]: tag["value"] for tag in (body or {}).get("registered_model", {}).get("tags", [])}
        if tags.get(_PROMPT, "").lower() == "true":
            raise RegistryRefusedError(
                Version.NAME_TAKEN,
                f"MLflow holds a prompt of the name {name!r}; rename the Model or the prompt.",
            )

    async def _create(self, wanted: Registration) -> None:
        body = {
            "name": wanted.name,
            "source": wanted.source,
            "description": wanted.description,
            "tags": [{"key": key, "value": value} for key, value in sorted(wanted.tags.items())],
        }
        if wanted.run_id is not None:
            body["run_id"] = wanted.run_id
        try:
            await self._send("POST", "model-versions/create", body)
        except RegistryRefusedError:
            if wanted.run_id is None:
                raise
            # A run that was deleted meanwhile must not keep its model from being registered.
            await self._send("POST", "model-versions/create", {k: v for k, v in body.items() if k != "run_id"})

    async def _search(self, query: str) -> list[RegisteredVersion]:
        found: list[RegisteredVersion] = []
        token = ""
        while True:
            params = {"filter": query, "max_results": str(_PAGE)} | ({"page_token": token} if token else {})
            body = await self._get("model-versions/search", params) or {}
            found.extend(_version(each) for each in body.get("model_versions", []))
            token = body.get("next_page_token") or ""
            if not token:
                return sorted(found, key=lambda each: each.order)

    async def _get(self, path: str, params: Mapping[str, str]) -> dict[str, Any] | None:
        """An answer, or None for 404; repeated, since reading changes nothing."""
        for wait in (*_REPEAT_AFTER, None):
            try:
                return await self._call("GET", path, params=params)
            except _AnswerError as error:
                if error.code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise _refusal(error, path) from error
            except UnavailableError:
                if wait is None:
                    raise
                await asyncio.sleep(wait)
        return None

    async def _send(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        """A write; never repeated here."""
        try:
            await self._call(method, path, body=body)
        except _AnswerError as error:
            # MLflow answers 400, not 404, for an alias that does not exist.
            gone = error.code == "RESOURCE_DOES_NOT_EXIST" or ("alias" in path and "not found" in error.message)
            if not (method == "DELETE" and gone):
                raise _refusal(error, path) from error

    async def _call(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        async def call() -> dict[str, Any]:
            data = orjson.dumps(body) if body is not None else None
            headers = {"Content-Type": "application/json"}
            url = f"{self._url}{_API}/{path}"
            async with self._http.request(method, url, params=params, data=data, headers=headers) as answer:
                return _body(answer.status, await answer.read())

        return await self._guard(call, _TransientError, aiohttp.ClientError)


def _body(status: int, content: bytes) -> dict[str, Any]:
    if status in _TRANSIENT:
        raise _TransientError(f"it answers {status} {_phrase(status)}")
    try:
        body = orjson.loads(content or b"{}")
    except orjson.JSONDecodeError:
        body = None
    if status >= HTTPStatus.BAD_REQUEST:
        code = body.get("error_code", "") if isinstance(body, dict) else ""
        message = body.get("message", "") if isinstance(body, dict) else content[:200].decode(errors="replace")
        raise _AnswerError(status, code, message)
    if not isinstance(body, dict):
        raise _TransientError("what answers is not MLflow's REST API")
    return body


def _refusal(error: _AnswerError, path: str) -> RegistryRefusedError:
    if error.status == HTTPStatus.FORBIDDEN and not error.code:
        sentence = (
            f"MLflow refuses the request ({error.message[:120]}): start it with --allowed-hosts for the host name in "
            "settings.mlflow.url, port included."
        )
        return RegistryRefusedError(Common.REGISTRY_UNREACHABLE, sentence)
    if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        sentence = "MLflow refuses the operator's credential; correct user and password in settings.mlflow.url."
        return RegistryRefusedError(Common.REGISTRY_UNREACHABLE, sentence)
    return RegistryRefusedError(Version.REGISTERING, f"MLflow refuses {path}: {error.code} {error.message}"[:1000])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _version(body: Mapping[str, Any]) -> RegisteredVersion:
    return RegisteredVersion(
        name=body["name"],
        number=str(body["version"]),
        source=body.get("source", ""),
        run_id=body.get("run_id") or None,
        tags={tag["key"]: tag.get("value", "") for tag in body.get("tags", [])},
        aliases=tuple(sorted(body.get("aliases", []))),
        status=body.get("status", "READY"),
    )
