"""The platform's images: built from the same Dockerfiles as in production, loaded into the node."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.localcluster import adopt, base, inputs, layout, toolchain
from tests.localcluster.buildah import builder
from tests.localcluster.cluster import Cluster
from tests.localcluster.errors import ClusterError
from tests.localcluster.lock import locked
from tests.localcluster.paths import HERE, REPOSITORY, State, cache
from tests.localcluster.process import docker_answers, run
from tests.localcluster.progress import say, step

REGISTRY: Final = "ghcr.io/gyre-dev"
_REGISTRY: Final = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*")
_LOOPBACK: Final = re.compile(r"(localhost|127\.[0-9.]+)[:/]")


@dataclass(frozen=True)
class Image:
    """One image: its Dockerfile and build context relative to the repository."""

    name: str
    dockerfile: str
    context: str = "."
    repository: str = ""
    tag: str = ""
    program: str = ""
    """A program of the toolchain that the context is made of, instead of a folder."""

    @property
    def reference(self) -> str:
        """The name under which pods ask for it."""
        return f"{self.repository or f'{REGISTRY}/{self.name}'}:{self.tag or version()}"

    @property
    def file(self) -> Path:
        """The Dockerfile."""
        return REPOSITORY / self.dockerfile

    @property
    def folder(self) -> Path:
        """The build context."""
        if self.program:
            return Path(toolchain.program(self.program)).parent
        return REPOSITORY / self.context


_HERE: Final = HERE.relative_to(REPOSITORY)
IMAGES: Final = {
    image.name: image
    for image in (
        Image("operators", "operators/Dockerfile"),
        Image("pipelines", "pipelines/Dockerfile"),
        Image("serving", "serving/Dockerfile"),
        Image("monitoring", "monitoring/Dockerfile"),
        Image("triton", "serving/runtime/triton/Dockerfile"),
        Image("census-train", "docs/examples/census/Dockerfile", "docs/examples/census"),
        # What a normal cluster pulls from their makers' registries.
        Image(
            "versitygw",
            f"{_HERE}/images/versitygw/Dockerfile",
            repository="docker.io/versity/versitygw",
            tag="v1.8.0",
            program="versitygw",
        ),
        Image(
            "mlflow",
            f"{_HERE}/images/mlflow/Dockerfile",
            f"{_HERE}/images/mlflow",
            repository="ghcr.io/mlflow/mlflow",
            tag="v3.17.2",
        ),
    )
}


def version() -> str:
    """Return the platform's version, which is also the images' tag."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
    if not found:
        raise ClusterError('pyproject.toml names no version: restore its line `version = "..."`.')
    return found[1]


def build_and_load(cluster: str, names: tuple[str, ...] = (), *, load: bool = True) -> None:
    """Build the named images (all by default) where their inputs changed, and load them."""
    unknown = sorted(set(names) - set(IMAGES))
    if unknown:
        raise ClusterError(f"There is no image {unknown[0]!r}: use {', '.join(IMAGES)}.")
    other = adopt.chosen(cluster)
    wanted = [IMAGES[name] for name in (names or tuple(IMAGES))]
    present = [image for image in wanted if image.file.is_file()]
    for image in wanted:
        if image not in present:
            say(f"{image.name}: absent, there is no {image.dockerfile}")
    with locked(cache() / "images.lock", "another build of images"):
        if _buildah_here():
            builder().clear()
        for number, image in enumerate(present, start=1):
            _one(image, number, len(present), None if not load else other or Cluster(State(cluster)))


def _one(image: Image, number: int, of: int, target: Cluster | adopt.Adopted | None) -> None:
    if image.program:
        toolchain.build((image.program,))
    if not _buildah_here():
        _with_docker(image, number, of, target)
        return
    buildah = builder()
    store = layout.Layout(cache() / "images" / "layout")
    digest = inputs.digest(image.file, image.folder, base.key())
    if store.inputs(image.reference) != digest:
        base.ensure(buildah)
        log = cache() / "log" / f"image-{image.name}.log"
        with step(f"build {image.reference}", number=number, of=of, log=log):
            buildah.build(dockerfile=image.file, context=image.folder, tag=image.reference, log=log)
            buildah.push(image.reference, store.folder, image.reference)
            store.remember(image.reference, digest)
    if isinstance(target, Cluster):
        if not store.loaded(target, image.reference):
            with step(f"load {image.reference}", number=number, of=of):
                store.load(target, image.reference)
    elif target is not None:
        archive = cache() / "images" / f"{image.name}.tar"
        buildah.run("push", "--quiet", image.reference, f"docker-archive:{archive}:{image.reference}")
        target.load(archive, image.reference)


def publish(registry: str, names: tuple[str, ...] = ()) -> None:
    """Build the platform's images where their inputs changed, and push them to ``<registry>/<name>:<version>``.

    ``registry`` is a host with an optional port and path, as the chart's ``image.registry`` takes it. Credentials are
    those of ``docker login``; plain HTTP is spoken on loopback only. What other makers publish is not pushed.
    """
    if not _REGISTRY.fullmatch(registry):
        raise ClusterError(f"{registry!r} is no registry: write host[:port][/path], e.g. registry.example.com/gyre.")
    ours = tuple(name for name, image in IMAGES.items() if not image.repository)
    foreign = sorted(set(names) & set(IMAGES) - set(ours))
    if foreign:
        raise ClusterError(f"{foreign[0]!r} is published by its makers: push {', '.join(ours)}.")
    wanted = names or ours
    build_and_load("default", wanted, load=False)
    for number, name in enumerate(wanted, start=1):
        target = f"{registry}/{name}:{version()}"
        with step(f"push {target}", number=number, of=len(wanted)):
            _push(IMAGES[name].reference, target)


def _push(reference: str, target: str) -> None:
    if _buildah_here():
        plain = ["--tls-verify=false"] if _LOOPBACK.match(target) else []
        builder().run("push", "--quiet", *plain, reference, f"docker://{target}")
        return
    run(["docker", "tag", reference, target])
    run(["docker", "push", "--quiet", target])


def _buildah_here() -> bool:
    """Whether buildah builds: where it is, and where it can be installed because Docker is not."""
    return bool(shutil.which("buildah")) or not docker_answers()


def _with_docker(image: Image, number: int, of: int, target: Cluster | adopt.Adopted | None) -> None:
    log = cache() / "log" / f"image-{image.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = ["docker", "build", "-f", str(image.file), "-t", image.reference, str(image.folder)]
    with step(f"build {image.reference}", number=number, of=of, log=log), log.open("w") as stream:
        done = subprocess.run(argv, stdout=stream, stderr=stream, check=False)
    if done.returncode:
        raise ClusterError(f"Building {image.reference} failed; the log is {log}.")
    if target is None:
        return
    archive = cache() / "images" / f"{image.name}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with step(f"load {image.reference}", number=number, of=of):
        run(["docker", "save", "-o", str(archive), image.reference])
        if isinstance(target, Cluster):
            target.ctr("images", "import", str(archive))
        else:
            target.load(archive, image.reference)


def references() -> dict[str, str]:
    """Return the name under which pods ask for each image."""
    return {name: image.reference for name, image in IMAGES.items()}


def prune() -> None:
    """Remove the builder's storage and the shelf; the next build starts from the base archive."""
    with locked(cache() / "images.lock", "a build of images"), step("prune"):
        if shutil.which("buildah"):
            # Layers may be mounted; the builder lets go of them first.
            builder().clear()
        for folder in (cache() / "containers", cache() / "images" / "layout"):
            shutil.rmtree(folder, ignore_errors=True)
