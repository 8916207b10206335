"""Commands, their options, and what they print."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from typing import TYPE_CHECKING, Final

from tests.localcluster import adopt, control, golang, gpu, toolchain
from tests.localcluster.cluster import Cluster
from tests.localcluster.errors import ClusterError, from_os_error
from tests.localcluster.paths import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INTERRUPTED: Final = 130  # what a shell says of a program ended by Ctrl-C


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = options.run
    try:
        return command(options) or 0
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {from_os_error(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.localcluster",
        description="A real Kubernetes on this machine. CLUSTER=existing takes the one that "
        "KUBECONFIG names, CLUSTER=kind one made by kind, instead of the full node.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> _Sub:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    build = add("build", _build, "build the programs from Go modules into the cache")
    build.add_argument("groups", nargs="*", help=f"of {', '.join(toolchain.GROUPS)}; all")
    build.add_argument("--tidy", action="store_true", help="then remove Go's caches")
    for name, run, text in (
        ("up", _up, "start a full node"),
        ("down", _down, "take it down; nothing is left"),
        ("status", _status, "say what runs"),
        ("env", _env, 'print KUBECONFIG and PATH for a shell: eval "$(... env)"'),
    ):
        _named(add(name, run, text))
    pods = _named(add("images", _images, "build the images that changed and load them"))
    pods.add_argument("images", nargs="*", help="by default all")
    pods.add_argument("--build-only", action="store_true", help="load nothing")
    pods.add_argument("--push", metavar="REGISTRY", help="to this registry instead, as host[:port][/path]")
    pods.add_argument("--list", action="store_true", help="print each image's name and reference")
    pods.add_argument("--prune", action="store_true", help="empty the builder's cache")
    plane = _named(add("control-plane", _control_plane, "an API server without a node"), "control")
    plane.add_argument("action", choices=["up", "down"])
    plane.add_argument("--kwok", type=int, default=0, metavar="NODES", help="fake nodes by kwok")
    plane.add_argument("--audit", action="store_true", help="keep an audit log")
    fake = _named(add("gpu", _gpu, "pretend that the node has GPU slices"))
    gpu.add_arguments(fake)
    return parser


_Sub = argparse.ArgumentParser


def _named(sub: _Sub, default: str = "default") -> _Sub:
    sub.add_argument("--name", default=default, help=f"of the cluster ({default})")
    return sub


def _build(options: argparse.Namespace) -> None:
    toolchain.build(tuple(options.groups))
    if options.tidy:
        golang.tidy(always=True)
    for folder in toolchain.search_path():
        print(folder)


def _up(options: argparse.Namespace) -> None:
    other = adopt.chosen(options.name)
    (other or Cluster(State(options.name))).up()


def _down(options: argparse.Namespace) -> None:
    other = adopt.chosen(options.name)
    (other or Cluster(State(options.name))).down()


def _status(options: argparse.Namespace) -> int:
    other = adopt.chosen(options.name)
    found = (other or Cluster(State(options.name))).status()
    for name, state in found.items():
        print(f"{name:24} {state}")
    for name in control.names():
        print(f"{'control plane ' + name:24} {State(name).kubeconfig}")
    return 0 if found["node"] == "Ready" else 1


def _env(options: argparse.Namespace) -> None:
    other = adopt.chosen(options.name)
    kubeconfig = other.kubeconfig if other else State(options.name).kubeconfig
    folders = ":".join(toolchain.search_path())
    print(f"export KUBECONFIG={shlex.quote(str(kubeconfig))}")
    print(f'export PATH={shlex.quote(folders)}:"$PATH"')
    # A proxy of the machine cannot reach the cluster's addresses.
    print(f"export NO_PROXY={shlex.quote(_no_proxy())}")


def _no_proxy() -> str:
    own = ["10.0.0.0/8", "localhost", "127.0.0.1", ".svc", ".cluster.local"]
    before = [one for one in os.environ.get("NO_PROXY", "").split(",") if one and one not in own]
    return ",".join([*before, *own])


def _control_plane(options: argparse.Namespace) -> None:
    if options.action == "down":
        control.take_down(State(options.name))
        return
    control.sweep()
    running = control.bring_up(options.name, kwok=options.kwok > 0, nodes=options.kwok, audit=options.audit)
    print(running.kubeconfig)


def _images(options: argparse.Namespace) -> None:
    # Only this command needs the image tools.
    from tests.localcluster import images  # noqa: PLC0415

    if options.list:
        for name, reference in images.references().items():
            print(f"{name:14} {reference}")
        return
    if options.prune:
        images.prune()
        return
    if options.push is not None:
        images.publish(options.push, tuple(options.images))
        return
    images.build_and_load(options.name, tuple(options.images), load=not options.build_only)


def _gpu(options: argparse.Namespace) -> None:
    gpu.run(options)
