"""The registry's part: register once, then keep tags and aliases what the cluster says.

MLflow is asked only while something may differ: at rest, a champion or challenger costs one read
each time its controller looks, all other versions nothing.
"""

from dataclasses import dataclass, field

from gyre_crds import names
from gyre_crds.v1alpha1.version import GateStatus, Registered
from gyre_operators.engine.plan import Effect, Key
from gyre_operators.registry_client.types import (
    DELETED_AT,
    DIGEST,
    GATE_PREFIX,
    ID,
    INSTALLATION,
    NAMESPACE,
    OBJECT,
    STATE,
    TAG_LIMIT,
    RegisteredVersion,
    identity,
)
from gyre_operators.version.effects import Record, Register
from gyre_operators.version.seen import CHALLENGER, CHAMPION, Entry, Observed, RegistryAway, RegistryRefusal

RECORDED = "Recorded"
"""Condition: MLflow's tags and aliases say what this object says."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What is known of the registry entry, and what is to be done about it."""

    registered: Registered | None
    trouble: RegistryAway | RegistryRefusal | None = None
    effects: tuple[Effect, ...] = ()
    recorded: str | None = None
    """What the tags say, once they say it; None while that is not so."""
    wanted: str = ""
    """What they should say."""
    regained: tuple[str, ...] = field(default=())
    """Aliases that somebody had moved away in MLflow."""
    lost: bool = False
    """Whether `registered` was deleted in MLflow, and the version is about to be registered again."""


def model_name(seen: Observed) -> str:
    """The registered model's name."""
    source = seen.version.spec.source.mlflow
    if source is not None:
        return source.name
    return names.registered_model(seen.version.metadata.namespace, seen.version.spec.model)


def identity_of(seen: Observed) -> str:
    """The idempotency key of this version."""
    meta = seen.version.metadata
    return identity(seen.site.installation, meta.namespace, seen.version.spec.model, seen.digest or "")


def is_entry_of(seen: Observed, found: RegisteredVersion) -> bool:
    """Whether an entry under the number on record is this version's.

    Numbers are no identities: who deletes a registered model and makes it anew gets them again. An entry
    without the key (somebody removed it, or the installation has another name now) is known by its bytes.
    """
    return found.tags.get(ID) == identity_of(seen) or found.source == seen.uri


def wanted_aliases(seen: Observed) -> list[str]:
    """What the Model's status gives this version."""
    status = seen.model.status if seen.model else None
    if status is None:
        # Without a Model nobody moves an alias: what was given stays.
        return list(seen.status.aliases)
    given = ((CHAMPION, status.champion), (CHALLENGER, status.challenger))
    return [alias for alias, ref in given if ref is not None and ref.name == seen.name]


def must_ask(seen: Observed) -> bool:
    """Whether the registry has to be asked this round."""
    status = seen.status
    if status.registry is None:
        return status.verification is not None and status.verification.verified is True
    aliases = wanted_aliases(seen)
    return bool(aliases or status.aliases) or _said(seen) != summary(aliases, status.gates)


def summary(aliases: list[str], gates: list[GateStatus]) -> str:
    """What the registry's tags and aliases should say, as a sentence for the condition."""
    parts = [f"{gate.name} {gate.state}" for gate in gates]
    carried = f"aliases {', '.join(aliases)}" if aliases else "no alias"
    return f"MLflow says: {'; '.join([carried, *parts])}"


def _said(seen: Observed) -> str | None:
    found = next((each for each in seen.status.conditions if each.type == RECORDED and each.status == "True"), None)
    return found.message if found else None


def recording(seen: Observed, gates: list[GateStatus], state: str) -> Recording:
    """The registry entry as it is, with what is to be done."""
    wanted = summary(wanted_aliases(seen), gates)
    if isinstance(seen.registry, RegistryAway | RegistryRefusal):
        said = _said(seen)
        return Recording(
            seen.status.registry, trouble=seen.registry, recorded=said if said == wanted else None, wanted=wanted
        )
    if seen.registry is None:
        said = _said(seen)
        return Recording(seen.status.registry, recorded=said, wanted=wanted)
    if seen.registry.doubled:
        # Nothing refers to an entry before it is certain which one stays.
        return Recording(None, effects=_registration(seen), wanted=wanted)
    if seen.registry.version is None:
        # The old number stays on record until the new one is known, so that the change can be told of.
        again = _registration(seen)
        before = seen.status.registry if again else None
        return Recording(before, effects=again, wanted=wanted, lost=before is not None)
    return _differences(seen, seen.registry, gates, state, wanted)


def _registration(seen: Observed) -> tuple[Effect, ...]:
    if seen.version.spec.source.mlflow is not None:
        return ()
    meta = seen.version.metadata
    return (
        Register(
            key=Key(meta.namespace, meta.name),
            name=model_name(seen),
            source=seen.uri or "",
            tags=tuple(sorted(_fixed_tags(seen).items())),
            run_id=seen.version.spec.run_id,
        ),
    )


def _fixed_tags(seen: Observed) -> dict[str, str]:
    meta = seen.version.metadata
    tags = {
        DIGEST: seen.digest or "",
        INSTALLATION: seen.site.installation,
        NAMESPACE: meta.namespace,
        OBJECT: meta.name,
    }
    if seen.version.spec.source.mlflow is None:
        # A version that a person registered never counts as a double of ours.
        tags[ID] = identity_of(seen)
    return tags


def _differences(seen: Observed, entry: Entry, gates: list[GateStatus], state: str, wanted: str) -> Recording:
    version = entry.version
    if version is None:
        raise ValueError("there is no entry to compare with")
    registered = Registered(name=version.name, version=version.number, url=entry.url or None)
    tags = {**_fixed_tags(seen), STATE: state, **{f"{GATE_PREFIX}{gate.name}": _gate_text(gate) for gate in gates}}
    differing = tuple(sorted((key, value) for key, value in tags.items() if version.tags.get(key) != value))
    untag = (DELETED_AT,) if DELETED_AT in version.tags else ()
    missing = tuple(alias for alias in wanted_aliases(seen) if alias not in version.aliases)
    drop = _to_drop(seen, version)
    if not (differing or untag or missing or drop):
        return Recording(registered, recorded=wanted, wanted=wanted)
    meta = seen.version.metadata
    effect = Record(
        key=Key(meta.namespace, meta.name),
        name=version.name,
        number=version.number,
        tags=differing,
        untag=untag,
        aliases=missing,
        drop=drop,
    )
    # An entry that took a deleted one's place never had them.
    same = seen.status.registry is not None and seen.status.registry.version == version.number
    regained = tuple(alias for alias in missing if same and alias in seen.status.aliases and _said(seen) == wanted)
    return Recording(registered, effects=(effect,), wanted=wanted, regained=regained)


def _gate_text(gate: GateStatus) -> str:
    return f"{gate.state}: {gate.message}"[:TAG_LIMIT] if gate.message else gate.state


def _to_drop(seen: Observed, version: RegisteredVersion) -> tuple[str, ...]:
    """A challenger's alias that nobody should have any more.

    One that somebody else has got is moved by them. A champion's is never dropped: in a restored
    cluster, whose Model has lost its status, MLflow alone still knows which version it was.
    """
    status = seen.model.status if seen.model else None
    if status is None or status.challenger is not None or CHALLENGER not in version.aliases:
        return ()
    return (CHALLENGER,)
