"""Images: list, inspect, build, import, pull, save, tag and remove them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from threezone.clients.docker import engine
from threezone.core.errors import CommandFailed, EngineError, ToolError

Json = dict[str, Any]
OnLine = Callable[[str], None]
BUILD_SECONDS = 1800.0
_NAME = "{{.Repository}}:{{.Tag}}"
_NONE = ":<none>"


def inspect(*images: str) -> list[Json]:
    """Docker's description of these images; missing ones are left out. Raises EngineError."""
    if not images:
        return []
    done = engine.run("image", "inspect", *images, timeout=60, check=False)
    try:
        documents: list[Json] = json.loads(done.stdout or "[]")
    except ValueError:
        documents = []
    if len(documents) + done.stderr.count("No such image") != len(images):
        raise EngineError(
            "the container engine does not show its images", evidence=done.stderr, fix="./run invoke engine.check"
        )
    return documents


def login(registry: str, user: str, password: str) -> None:
    """Have docker remember the login of a registry, as the user has configured that. Raises CommandFailed."""
    engine.run("login", "--username", user, "--password-stdin", registry, stdin=password, timeout=60)


def names(repository: str, *filters: str) -> list[str]:
    """The names with tags of a repository's images. Raises EngineError."""
    rows = engine.ask("image", "ls", *(f"--filter={condition}" for condition in filters), "--format", _NAME, repository)
    return [row for row in rows if not row.endswith(_NONE)]


def ids(*filters: str, repository: str = "") -> list[str]:
    """The ids of the images that match all `filters`. Raises EngineError."""
    options = [*(f"--filter={condition}" for condition in filters), *filter(None, [repository])]
    return sorted(set(engine.ask("image", "ls", "--quiet", "--no-trunc", *options)))


def pull(reference: str) -> None:
    """Fetch an image from its registry. Raises ToolError with the registry's message."""
    try:
        engine.run("pull", "--quiet", reference, timeout=BUILD_SECONDS)
    except CommandFailed as error:
        raise ToolError(
            f"the image {reference} could not be pulled",
            evidence=error.tail,
            fix="check the network, or build it on this machine: --channel source",
        ) from None


def build(
    reference: str, context: Path, *, labels: Mapping[str, str], arguments: Sequence[str] = (), target: str = ""
) -> None:
    """Build a directory with a Dockerfile; an argument without a value takes it from the environment.

    It uses the host's network, so that it reaches the same mirrors as the host's apt.
    """
    options = [*engine.labels(labels), "--network=host"]
    options += [*(f"--build-arg={argument}" for argument in arguments), *([f"--target={target}"] if target else [])]
    env, builder_options = _builder()
    engine.run("build", "--tag", reference, *options, *builder_options, context, timeout=BUILD_SECONDS, env=env)


def build_directory(directory: Path, file: Path, id_file: Path, arguments: Sequence[str], on_line: OnLine) -> str:
    """Build the user's Dockerfile `file` in `directory`, without a name, and return the image's id.

    An argument is the name of a variable of the environment, which has its value. Raises CommandFailed.
    """
    env, builder_options = _builder()  # the engine's own builder: another one would keep the image to itself
    options = [f"--build-arg={name}" for name in arguments]
    options += [*builder_options, f"--iidfile={id_file}", f"--file={file}"]
    engine.run("build", *options, directory, timeout=BUILD_SECONDS, env=env, on_line=on_line)
    return id_file.read_text(encoding="utf-8").strip()


def push(reference: str, *, env: Mapping[str, str | None] = MappingProxyType({})) -> None:
    """Push an image to its registry. Raises CommandFailed."""
    engine.run("push", reference, timeout=BUILD_SECONDS, env=env)


def _builder() -> tuple[dict[str, str | None], list[str]]:
    """Environment and arguments for a builder that uses the engine's images and makes images of one platform."""
    if engine.run("buildx", "version", check=False).exit_code == 0:
        return {"BUILDX_BUILDER": "default", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "DOCKER_BUILDKIT": "1"}, []
    return {"DOCKER_BUILDKIT": "0"}, ["--force-rm"]  # otherwise the old builder keeps the containers of failed steps


def load_root(source: Path | bytes, reference: str, changes: Sequence[str]) -> None:
    """Make an image of one layer from a tar archive (`docker import`), with `changes` written as in a Dockerfile."""
    stdin = source if isinstance(source, bytes) else None
    file = "-" if isinstance(source, bytes) else source
    engine.run("import", *(f"--change={change}" for change in changes), file, reference, stdin=stdin, timeout=600)


def save(file: Path, *images: str, architecture: str = "", timeout: float = 600) -> None:
    """Write images into an archive for `docker load` or kind. Raises CommandFailed.

    Of an image for several platforms only the one for `architecture` is written. Clients and engines before Docker 28
    (API 1.48) cannot do that, and write those that they have.
    """
    if architecture:
        try:
            engine.run("save", f"--platform=linux/{architecture}", "--output", file, *images, timeout=timeout)
        except CommandFailed as error:
            if "platform" not in error.tail:
                raise
        else:
            return
    engine.run("save", "--output", file, *images, timeout=timeout)


def load(file: Path, timeout: float = 900) -> None:
    """Load the images of an archive that `save` has written. Raises CommandFailed."""
    engine.run("load", "--quiet", "--input", file, timeout=timeout)


def tag(image: str, reference: str) -> None:
    """Add a name to an image."""
    engine.run("tag", image, reference, timeout=60)


def remove(*images: str) -> None:
    """Remove names of images; images that a container uses are kept."""
    if images:
        engine.run("image", "rm", *images, timeout=600, check=False)


def prune(label: str) -> None:
    """Remove unused images with this label and without a name."""
    engine.run("image", "prune", "--force", "--filter", f"label={label}", timeout=300, check=False)
