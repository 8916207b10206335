"""The page at /docs: each service with its inputs and a request to copy. No script, nothing from elsewhere."""

import json
from html import escape

from gyre_crds.v1alpha1.version import Tensor
from gyre_serving.router.openapi import example
from gyre_serving.router.service import Service

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "pre{background:#f4f4f2;padding:.8rem;overflow:auto;border-radius:4px}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}"
)
_SHOWN = 12
"""Values shown of an example: enough to see the form."""


def page(namespace: str, services: list[Service]) -> str:
    """The HTML page."""
    parts = [_service(service) for service in services] or ["<p>The routing table names no service yet.</p>"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Gyre router: {escape(namespace)}</title>'
        f"<style>{_STYLE}</style><h1>Models of namespace {escape(namespace)}</h1>"
        '<p>The same as <a href="/openapi.json">OpenAPI</a>. Labels come back by <code>POST /v1/feedback</code>.</p>'
        f"{''.join(parts)}</html>"
    )


def _service(service: Service) -> str:
    path = f"/v2/models/{service.name}/infer"
    versions = ", ".join(f"{one.version} ({one.route.weight} %)" for one in service.revisions) or "none yet"
    many = f"<code>POST /v2/models/{escape(service.name)}/batch</code> for up to {service.route.batch.max_rows} rows"
    asked = f"<code>POST {escape(path)}</code><br>{many}"
    head = f"<h2>{escape(service.name)}</h2><p>{asked}<br>versions: {escape(versions)}</p>"
    if not service.is_open():
        told = f"<code>GET /v2/models/{escape(service.name)}</code>"
        return f"{head}<p>Its inputs are told to whoever may ask: {told}</p>"
    signature = service.signature()
    if signature is None:
        return f"{head}<p>Its versions have no signature.</p>"
    rows = "".join(_tensor("input", one) for one in signature.inputs)
    rows += "".join(_tensor("output", one) for one in signature.outputs)
    body = json.dumps(example(signature, most=_SHOWN))
    return (
        f"{head}<table><tr><th></th><th>name</th><th>type</th><th>shape</th><th>columns</th></tr>{rows}</table>"
        f"<pre>curl $ROUTER{escape(path)} -d '{escape(body)}'</pre>"
    )


def _tensor(side: str, tensor: Tensor) -> str:
    cells = (side, tensor.name, tensor.datatype, str(tensor.shape), ", ".join(tensor.columns))
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
