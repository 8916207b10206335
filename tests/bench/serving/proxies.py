"""Proxies that do the router's job: sticky split over two revisions and a path rewritten to an explicit version."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from gyre_crds.contracts.routing import RoutingTable, stamped
from tests.bench.serving.load import Command, free_port
from tests.bench.serving.programs import debian, environment

WIDTH = 4
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, WIDTH], "columns": ["a", "b", "c", "d"]}],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
    "prediction": {"output": "label", "task": "Classification"},
}
EXTENSIONS = '{"extensions":["binary_tensor_data"]}'
FILTERS = "type.googleapis.com/envoy.extensions.filters"


def bodies() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Name to body and headers: tiny JSON, 150 kB of JSON numbers, 600 kB of binary tensors."""
    tiny = _document(1)
    rows = next(n for n in range(100, 20_000, 100) if len(_document(n)) >= 150_000)
    header = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[37500,4],"parameters":{"binary_data_size":600000}}]}'
    binary = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
    kind = {"Content-Type": "application/json"}
    return {
        "tiny JSON": (tiny, kind),
        "150 kB JSON": (_document(rows), kind),
        "600 kB binary": (header + bytes(600_000), binary),
    }


def _document(rows: int) -> bytes:
    data = [round(0.125 * (index % 97) + 0.0625, 4) for index in range(rows * WIDTH)]
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, WIDTH], "data": data}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()


NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 32m; client_body_buffer_size 2m; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {http}
}}
"""


def _nginx(folder: Path, http: str, port: int) -> Command:
    folder.mkdir()
    # Root's nginx works as nobody, who may not read what lies in a temporary folder.
    user = "" if os.geteuid() else "user root;"
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, http=http, user=user))
    program = debian("nginx")
    argv = [program.path, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    return Command(argv, port, program.environment)


def upstream(folder: Path) -> Command:
    """The model server: reads the body, answers with one label a row."""
    port = free_port()
    # The body is read because it is proxied to the second server, which throws it away.
    sink = free_port()
    large = bodies()["150 kB JSON"][0]
    http = (
        f"upstream sink {{ server 127.0.0.1:{sink}; keepalive 64; keepalive_requests 100000000; }} "
        f"map $content_length $answer {{ default /few; {len(large)} /many; }} open_file_cache max=8; "
        f"server {{ listen 127.0.0.1:{sink}; root {folder}; default_type application/json; }} "
        f"server {{ listen 127.0.0.1:{port}; location = /v2 {{ return 200 '{EXTENSIONS}'; }} "
        "location / { rewrite ^ $answer break; proxy_pass http://sink; "
        'proxy_method GET; proxy_http_version 1.1; proxy_set_header Connection ""; } }'
    )
    command = _nginx(folder, http, port)
    (folder / "few").write_bytes(_answer(1))
    (folder / "many").write_bytes(_answer(json.loads(large)["inputs"][0]["shape"][0]))
    return command


def _answer(rows: int) -> bytes:
    label = {"name": "label", "datatype": "INT64", "shape": [rows], "data": [index % 2 for index in range(rows)]}
    return json.dumps({"model_name": "m", "model_version": "1", "outputs": [label]}, separators=(",", ":")).encode()


def nginx_proxy(folder: Path, model: int) -> Command:
    """Nginx with split_clients on the sticky header, path rewrite and kept-alive upstream connections."""
    port = free_port()
    http = (
        "split_clients $http_x_user $n { 90% 1; * 2; } "
        f"upstream u {{ server 127.0.0.1:{model}; keepalive 64; keepalive_requests 100000000; }} "
        f"server {{ listen 127.0.0.1:{port}; location = /v2/models/m/infer {{ "
        "rewrite ^ /v2/models/m/versions/$n/infer break; proxy_pass http://u; proxy_http_version 1.1; "
        'proxy_set_header Connection ""; proxy_request_buffering off; } }'
    )
    return _nginx(folder, http, port)


def envoy_proxy(folder: Path, model: int) -> Command:
    """Envoy, one worker, clusters weighted by the header's hash, path rewrite.

    Envoy rewrites paths by route, not by weighted cluster: both shares get the path of version 1.
    """
    port = free_port()
    folder.mkdir()
    address = {"socket_address": {"address": "127.0.0.1", "port_value": model}}
    clusters = [
        {
            "name": f"v{n}",
            "type": "STATIC",
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": f"v{n}",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
        for n in (1, 2)
    ]
    split = {"use_hash_policy": True, "clusters": [{"name": "v1", "weight": 90}, {"name": "v2", "weight": 10}]}
    action = {
        "hash_policy": [{"header": {"header_name": "x-user"}}],
        "prefix_rewrite": "/v2/models/m/versions/1/infer",
        "weighted_clusters": split,
    }
    routes = [{"match": {"path": "/v2/models/m/infer"}, "route": action}]
    manager = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    config = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    (folder / "envoy.json").write_text(json.dumps(config))
    program = environment("envoy").parent / "lib/python3.11/site-packages/envoy/_bin/envoy"
    options = ["--concurrency", "1", "--disable-hot-restart", "-l", "off"]
    return Command([str(program), "-c", str(folder / "envoy.json"), *options], port)


def router(folder: Path, model: int, *, full: bool = False, sample: float = 0.1, mirror: float = 0.0) -> Command:
    """The router with a sticky split.

    Args:
        folder: for its table and its logs; made here.
        model: port of the model server.
        full: check every body, and log the share `sample` of the requests.
        sample: see `full`.
        mirror: share of the requests that a third revision gets too, its answers compared.
    """
    port = free_port()
    folder.mkdir()
    revisions = [
        {"revision": f"r{n}", "version": f"v{n}", "service": f"127.0.0.1:{model}", "model": "m", "weight": weight,
         "upstreamVersion": str(n), **({"signature": SIGNATURE} if full else {})}
        for n, weight in ((1, 90), (2, 10), *([(3, 0)] if mirror else []))
    ]  # fmt: skip
    service: dict[str, Any] = {"name": "m", "revisions": revisions, "stickyHeader": "x-user"}
    service["validation"] = "Enforce" if full else "Off"
    if full:
        prefixes = {"prefix": f"file://{folder}/p", "feedbackPrefix": f"file://{folder}/f", "flushSeconds": 1}
        service["payloads"] = {**prefixes, "sample": sample}
        # A bench of 1,000 connections asks how they are held, not who is refused.
        service["limits"] = {"concurrency": 1024}
    if mirror:
        service["mirror"] = {"revision": "r3", "share": mirror}
    table = stamped(RoutingTable.model_validate({"namespace": "bench", "services": [service]}))
    (folder / "table.json").write_text(json.dumps(table.dump()))
    command = [sys.executable, "-m", "gyre_serving", "router", "--table", str(folder / "table.json")]
    options = ["--host", "127.0.0.1", "--port", str(port), "--control-port", "0", "--drain-delay", "0"]
    return Command([*command, *options], port, works_on=full)


HAPROXY = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
frontend in
  bind 127.0.0.1:{port}
  acl second req.hdr(x-user),crc32,mod(100) lt 10
  http-request set-path /v2/models/m/versions/2/infer if second
  http-request set-path /v2/models/m/versions/1/infer unless second
  default_backend all
backend all
  http-reuse always
  server one 127.0.0.1:{model} maxconn 4096
"""

ASGI = """
import zlib, httpx
from fastapi import FastAPI, Request, Response
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=200, max_keepalive_connections=200))
app = FastAPI()
@app.post("/v2/models/m/infer")
async def infer(request: Request):
    version = 2 if zlib.crc32(request.headers.get("x-user", "").encode()) % 100 < 10 else 1
    kept = {{k: v for k, v in request.headers.items() if k not in ("host", "content-length", "connection")}}
    url = f"http://127.0.0.1:{model}/v2/models/m/versions/{{version}}/infer"
    answer = await client.post(url, content=await request.body(), headers=kept)
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
"""


def haproxy_proxy(folder: Path, model: int) -> Command:
    """HAProxy, one thread, split by the header's hash, path rewrite, reused upstream connections."""
    port = free_port()
    folder.mkdir()
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, model=model))
    program = debian("haproxy")
    return Command([program.path, "-db", "-f", str(folder / "haproxy.cfg")], port, program.environment)


def fastapi_proxy(folder: Path, model: int) -> Command:
    """What one writes in an afternoon: FastAPI with httpx behind it, on uvloop."""
    port = free_port()
    folder.mkdir()
    (folder / "proxy.py").write_text(ASGI.format(model=model))
    options = ["--port", str(port), "--log-level", "critical", "--no-access-log", "--loop", "uvloop"]
    return Command([str(environment("fastapi") / "uvicorn"), "--app-dir", str(folder), "proxy:app", *options], port)
