"""What an operator is told and may do: its settings, its roles."""

from pathlib import Path

import pytest

from gyre_operators.rbac import document
from gyre_operators.settings import Settings, SettingsError
from tests.operators.engine.example import OnceController


def test_settings_come_from_yaml_and_have_defaults(tmp_path: Path) -> None:
    """Field names are camelCase; what is left out has its default."""
    file = tmp_path / "settings.yaml"
    file.write_text("namespaces: [team-a]\nhealthPort: 9000\nmlflow: {url: http://m:5000}\n")
    settings = Settings.load(str(file))

    assert settings.namespaces == ("team-a",)
    assert settings.health_port == 9000
    assert settings.mlflow.url == "http://m:5000"
    assert settings.freeze is False


BAD_SETTINGS = {
    "an unknown field is named": ("prizes: {}", "prizes: "),
    "a wrong type is named by its path": ("images: {triton: 7}", "images.triton: "),
    "a port out of range is refused": ("healthPort: 70000", "healthPort: "),
    "a store without a scheme is refused": ("store: {uri: bucket}", "store.uri: "),
    "what is no YAML is said": ("a: [", "is not YAML"),
    "what is no mapping is said": ("- a", "the file: "),
}


@pytest.mark.parametrize(("text", "said"), BAD_SETTINGS.values(), ids=BAD_SETTINGS.keys())
def test_bad_settings_get_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """Each names the file and the field."""
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        Settings.load(str(file))
    assert str(file) in str(caught.value)


def test_a_settings_file_that_was_named_must_exist(tmp_path: Path) -> None:
    """A typing error in GYRE_SETTINGS must not run with defaults."""
    with pytest.raises(SettingsError, match="cannot be read"):
        Settings.load(str(tmp_path / "absent.yaml"))


def test_roles_hold_what_is_declared_and_no_more() -> None:
    """Watches become reads, grants their verbs, the kind its status; the Lease stands apart."""
    rules = document([OnceController])
    flat = {(resource, verb) for rule in rules["workload"] for resource in rule["resources"] for verb in rule["verbs"]}

    assert {v for r, v in flat if r == "jobs"} == {"get", "list", "watch", "create", "delete"}
    assert {v for r, v in flat if r == "configmaps"} == {
        "get", "list", "watch", "create", "patch", "delete",
    }  # fmt: skip
    assert {v for r, v in flat if r == "trainingjobs"} == {"get", "list", "watch"}
    assert {v for r, v in flat if r == "trainingjobs/status"} == {"patch"}
    assert {r for r, _ in flat} == {
        "jobs", "configmaps", "trainingjobs", "trainingjobs/status", "events",
    }  # fmt: skip
    assert rules["cluster"] == []
    assert rules["system"][0]["resources"] == ["leases"]
