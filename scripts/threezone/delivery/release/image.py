"""Build the user's image, name it by its content, and bring it to where the cluster's nodes get it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threezone.clients.docker import engine, images
from threezone.cluster import local_registry, node_images
from threezone.cluster.lab import Lab
from threezone.core import redaction
from threezone.core.errors import CommandFailed, ToolError, UsageError
from threezone.core.events import step
from threezone.images import engine_images, registry, registry_login

TAG = "content-"
SECRET_SIZE = 8
PROGRESS = re.compile(r"^(Step \d+/\d+|#\d+ \[)")  # the classic builder's lines, and BuildKit's
NO_LOGIN = ("no basic auth credentials", "unauthorized", "authentication required", "denied")
# What the classic builder notes in an image of how it was built.
NOT_CONTENT = {"Hostname", "Domainname", "Image"}


@dataclass(frozen=True)
class Source:
    """What is built: the directory, its Dockerfile, and the names of variables that the build gets as arguments."""

    directory: Path
    file: Path
    arguments: tuple[str, ...] = ()

    def command(self) -> str:
        """The build as a command to paste."""
        arguments = "".join(f" --build-arg {name}" for name in self.arguments)
        return f"docker build --file {self.file}{arguments} {self.directory}"


@dataclass(frozen=True)
class Built:
    """A built image: the engine's id, and the tag by its content."""

    id: str
    tag: str


def source(directory: Path, file: str, arguments: tuple[str, ...]) -> Source:
    """What is built. Raises UsageError for a missing Dockerfile, and for an argument with its value."""
    for each in arguments:
        name = each.partition("=")[0]
        if name != each:
            raise UsageError(
                f"--build-arg {name} takes no value: arguments can be seen by everybody on this machine",
                fix=f"export {name}=…, and then --build-arg {name}; in a Dockerfile, a secret belongs in RUN --mount",
            )
        if each not in os.environ:
            raise UsageError(f"--build-arg {each}: there is no such variable", fix=f"export {each}=…")
        if len(os.environ[each]) >= SECRET_SIZE:  # the builder may print it; shorter ones are no secrets
            redaction.keep_secret(os.environ[each])
    dockerfile = Path(file).absolute() if file else directory / "Dockerfile"
    if not dockerfile.is_file():
        raise UsageError(f"there is no {dockerfile}", fix="name the directory with --build, or the file with --file")
    return Source(directory, dockerfile, arguments)


def build(wanted: Source, name: str) -> Built:
    """Build the image. Raises ToolError with the builder's own words."""
    with step(f"build {name}") as running, tempfile.TemporaryDirectory(prefix="threezone-build-") as private:

        def line(text: str) -> None:
            if PROGRESS.match(text):
                running.say(text[:100])

        id_file = Path(private, "id")
        try:
            id_ = images.build_directory(wanted.directory, wanted.file, id_file, wanted.arguments, line)
        except CommandFailed as error:
            raise ToolError(
                f"the image {name} could not be built", evidence=error.tail, fix=f"correct {wanted.file}"
            ) from None
        (document,) = images.inspect(id_)
        built = Built(id_, content_tag(document))
        running.result = built.tag
        return built


def content_tag(document: Mapping[str, Any]) -> str:
    """A tag by what is in an image: its layers and its configuration, but not when it was built. Pure."""
    config = {key: value for key, value in (document.get("Config") or {}).items() if key not in NOT_CONTENT}
    content = [document.get("Os"), document.get("Architecture"), (document.get("RootFS") or {}).get("Layers"), config]
    return f"{TAG}{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]}"


def registry_of(lab: Lab) -> str:
    """The address of the local registry in image names, where it runs; "" without one."""
    name = lab.settings.registry.name
    running = registry.observe(name).get(name) if lab.kind_cluster else None
    return registry.address(running.port) if running and running.running else ""


def new_name(image: str, old: str, address: str, own: str) -> str:
    """The name for the entry of `image`, whose present new name is `old`; "" leaves it as it is. Pure.

    `address` is that of the local registry that runs ("" for none), `own` that of the settings.
    """
    if address:
        path = image
        host, slash, rest = image.partition("/")
        if slash and ("." in host or ":" in host or host == "localhost"):
            path = rest
        return f"{address}/{path}" if f"{address}/{path}" != image or old else ""
    return image if old.startswith(f"{own}/") else ""


def bring(lab: Lab, built: Built, reference: str, address: str) -> None:
    """Tag the image, and push it to the local registry at `address`, or load it into the nodes without one."""
    present = images.inspect(reference)
    if not present or content_tag(present[0]) != built.tag:
        images.tag(built.id, reference)
    if address:
        with step(f"push {reference}"):
            _push(lab, reference)
    else:
        node_images.engine_images_into_nodes(lab, list(engine_images.inspect([reference]).values()))


def _push(lab: Lab, reference: str) -> None:
    """Push with the user's login (registry.login); without one, with the registry's own, in a private file."""
    try:
        try:
            images.push(reference)
        except CommandFailed as error:
            if not any(words in error.tail for words in NO_LOGIN):
                raise
            _, password, names = local_registry.login(lab.settings.registry.name)
            with tempfile.TemporaryDirectory(prefix="threezone-login-") as private:
                registry_login.write(Path(private, "config.json"), names, password)
                # The user's docker context is in the directory that is replaced, so its engine is named here.
                endpoint = {"DOCKER_HOST": engine.endpoint(), "DOCKER_CONTEXT": None}
                images.push(reference, env={"DOCKER_CONFIG": private, **endpoint})
    except CommandFailed as error:
        raise ToolError(
            f"{reference} could not be pushed", evidence=error.tail, fix="./run invoke registry.login, and again"
        ) from None
