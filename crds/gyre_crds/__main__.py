"""`python -m gyre_crds write|check`: CRDs, their copies in the chart, and the reference pages."""

import sys
from pathlib import Path

import yaml

from gyre_crds.base import GROUP
from gyre_crds.reference import page
from gyre_crds.schema import crd
from gyre_crds.v1alpha1 import KINDS


class _Plain(yaml.SafeDumper):
    """YAML without anchors: what is the same twice is written twice, for people to read."""

    def ignore_aliases(self, _data: object) -> bool:
        """Never make an alias."""
        return True


_HEADER = "# Generated from crds/gyre_crds by `make generate`. Do not edit.\n"
_KEEP = "{{- if .Values.keep }}\n    helm.sh/resource-policy: keep\n{{- end }}"


def files() -> dict[Path, str]:
    """Every generated file, relative to the repository's root, with its content."""
    out: dict[Path, str] = {}
    for kind in KINDS:
        text = _HEADER + yaml.dump(crd(kind), Dumper=_Plain, sort_keys=False, width=1000, allow_unicode=True)
        name = f"{kind.PLURAL}.{GROUP}.yaml"
        out[Path("crds") / name] = text
        out[Path("charts/gyre-crds/templates") / name] = _as_template(text)
        out[Path("docs/reference") / f"{kind.KIND.lower()}.md"] = page(kind)
    # Alert rules and dashboards are monitoring's data; the chart can only read what lies inside it.
    out[Path("charts/gyre/files/alerts.yaml")] = Path("monitoring/gyre_monitoring/alerts/rules.yaml").read_text()
    for board in sorted(Path("monitoring/gyre_monitoring/alerts/dashboards").glob("*.json")):
        out[Path("charts/gyre/files/dashboards") / board.name] = board.read_text()
    out[Path("charts/argocd/argocd-cm.yaml")] = _argo_health(Path("charts/argocd/health/gyre.lua").read_text())
    return out


def _argo_health(lua: str) -> str:
    """The ConfigMap patch that teaches Argo CD the health of each kind."""
    body = "".join(f"    {line}\n" for line in lua.splitlines())
    entries = "".join(f"  resource.customizations.health.{GROUP}_{kind.KIND}: |\n{body}" for kind in KINDS)
    source = "# Generated from charts/argocd/health/gyre.lua by `make generate`. Do not edit.\n"
    return f"{source}data:\n{entries}"


def _as_template(text: str) -> str:
    """The CRD as a chart template: kept on uninstall unless asked otherwise."""
    escaped = text.replace("{{", '{{ "{{" }}')
    head, tail = escaped.split("metadata:\n", 1)
    return f"{head}metadata:\n  annotations:\n    gyre.dev/chart: {{{{ .Chart.Version | quote }}}}\n    {_KEEP}\n{tail}"


def main() -> int:
    """Write the files, or say which differ."""
    if sys.argv[1:] not in (["write"], ["check"]):
        sys.stderr.write("usage: python -m gyre_crds write|check (from the repository's root)\n")
        return 2
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if sys.argv[1] == "check":
        for path in stale:
            sys.stderr.write(f"{path} is not what the API types say: run `make generate`\n")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files()[path])
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
