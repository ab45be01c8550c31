"""Images in the container engine: look at them, build them from a recipe, derive them. All of it through `docker`.

Builds work with BuildKit and with the classic builder alike (Debian's engine has only that one), so recipes use what
both know.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from threezone.core import labels, paths, process
from threezone.core.errors import CommandFailed, EngineError, ToolError
from threezone.toolchain import cache

RECIPE = "io.threezone.recipe"  # what the image was made from, as a digest
RECIPES = Path(__file__).with_name("recipes")
BUILD_DEADLINE = 1800.0
PROXIES = {"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}


@dataclass(frozen=True)
class Image:
    """An image in the engine: its name, the engine's content id, bytes on disk, what it was made from, and for what."""

    reference: str
    id: str
    size: int
    recipe: str = ""
    architectures: tuple[str, ...] = ()


def inspect(references: Sequence[str]) -> dict[str, Image]:
    """Those of the images that the engine has, in one call. Raises EngineError when it does not answer."""
    if not references:
        return {}
    seen = process.run(["docker", "image", "inspect", *references], timeout=60, check=False)
    try:
        documents = json.loads(seen.stdout or "[]")
    except json.JSONDecodeError:
        documents = []
    missing = seen.stderr.count("No such image")
    if len(documents) + missing != len(references):
        raise EngineError(
            "the container engine does not show its images", evidence=seen.stderr, fix="./run invoke engine.check"
        )
    found: dict[str, Image] = {}
    for document in documents:
        labels = (document.get("Config") or {}).get("Labels") or {}
        names = {_plain(name) for name in (*(document.get("RepoTags") or ()), *(document.get("RepoDigests") or ()))}
        for reference in references:
            # The engine shows name:tag without the digest and name@digest without the tag.
            name, _, digest = reference.partition("@")
            wanted = f"{name.rsplit(':', 1)[0]}@{digest}" if digest else name
            if _plain(wanted) in names:
                made_for = (str(document["Architecture"]),) if document.get("Architecture") else ()
                found[reference] = Image(
                    reference, document["Id"], int(document["Size"]), labels.get(RECIPE, ""), made_for
                )
    return found


def _plain(reference: str) -> str:
    """A reference as the engine shows it: without the default registry."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def full(reference: str) -> str:
    """A reference as containerd writes it: with its registry."""
    first, _, rest = reference.partition("/")
    return reference if rest and ("." in first or ":" in first) else f"docker.io/{reference}"


def digest(*names: str) -> str:
    """A digest of whole recipe folders: file names, modes and contents."""
    total = hashlib.sha256()
    for name in names:
        for path in sorted((RECIPES / name).rglob("*")):
            if path.is_file():
                total.update(f"{path.relative_to(RECIPES)} {path.stat().st_mode & 0o100:o}\n".encode())
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]


def build(
    reference: str,
    recipe: str,
    *,
    made_from: str,
    base: str = "",
    target: str = "",
    files: Mapping[str, Path] | None = None,
    trees: Mapping[str, Path] | None = None,
) -> None:
    """Build the recipe folder `recipe` as `reference`, labelled with `made_from`.

    `base` fills the argument BASE; `target` names a stage. `files` and `trees` put files and whole directories into
    the context under the given relative paths.
    """
    with scratch(f"build-{reference}") as context:
        for folder in ("common", recipe):
            shutil.copytree(RECIPES / folder, context, dirs_exist_ok=True)
        for name, source in (files or {}).items():
            put(source, context / name)
        for name, source in (trees or {}).items():
            shutil.copytree(source, context / name, dirs_exist_ok=True)
        argv: list[str | Path] = ["docker", "build", "--tag", reference, "--label", f"{labels.MANAGED}=true"]
        # Packages come over the host's own network: it reaches the mirrors that the host's apt reaches.
        argv += ["--label", f"{RECIPE}={made_from}", "--network", "host"]
        for name in PROXIES & os.environ.keys():  # by name only: an address may hold a password
            argv += ["--build-arg", name]
        if base:
            argv += ["--build-arg", f"BASE={base}"]
        if target:
            argv += ["--target", target]
        env, more = _builder()
        process.run([*argv, *more, context], timeout=BUILD_DEADLINE, env=env)


def _builder() -> tuple[dict[str, str | None], list[str]]:
    """Environment and arguments for a builder that sees the engine's images and makes plain ones of one platform."""
    found = process.run(["docker", "buildx", "version"], timeout=30, check=False)
    if found.exit_code == 0:
        return {"BUILDX_BUILDER": "default", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "DOCKER_BUILDKIT": "1"}, []
    return {"DOCKER_BUILDKIT": "0"}, ["--force-rm"]  # the classic one keeps the containers of failed steps otherwise


def put(source: Path, target: Path) -> None:
    """The file `source` also as `target`: linked where that works, else copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty directory below the cache under a lock of its own; what a killed run left there is removed first."""
    safe = name.replace("/", "-").replace(":", "-")
    place = paths.cache_dir() / "tmp" / safe
    with cache.exclusive(safe):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def sweep(name: str) -> None:
    """Remove what a killed run left in `scratch(name)`; nothing while somebody is at work there."""
    from filelock import FileLock, Timeout

    safe = name.replace("/", "-").replace(":", "-")
    place = paths.cache_dir() / "tmp" / safe
    if place.exists():
        with suppress(Timeout), FileLock(paths.cache_dir() / "locks" / f"{safe}.lock", timeout=0):
            shutil.rmtree(place, ignore_errors=True)


def pull(reference: str) -> None:
    """Fetch an image from its registry. Raises ToolError with the registry's words."""
    try:
        process.run(["docker", "pull", "--quiet", reference], timeout=BUILD_DEADLINE)
    except CommandFailed as error:
        raise ToolError(
            f"the image {reference} could not be pulled",
            evidence=error.tail,
            fix="check the network, or build it on this machine: --channel source",
        ) from None


def derive(
    base: str, reference: str, labels: Mapping[str, str], files: Mapping[str, str] = MappingProxyType({})
) -> Image:
    """`base` with more labels and with `files` by path, as `reference`, without a builder; made unless it is that."""
    images = inspect([base, reference])
    if base not in images:
        raise ToolError(f"the image {base} is not there", fix="./run invoke image.build node")
    content = json.dumps(dict(files), sort_keys=True).encode()
    recipe = images[base].id + (f"+{hashlib.sha256(content).hexdigest()[:16]}" if files else "")
    if reference in images and images[reference].recipe == recipe:
        return images[reference]
    # A container that never runs, committed: only its metadata and these files differ, so no other layer is made or
    # copied. It has the labels too, so that what a killed run left of it is found.
    marks = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
    container = process.run(["docker", "create", *marks, base], timeout=120).stdout.strip()
    try:
        if files:
            put_texts(container, files)
        changes = [f"LABEL {key}={json.dumps(value)}" for key, value in {**labels, RECIPE: recipe}.items()]
        arguments = [part for change in changes for part in ("--change", change)]
        process.run(["docker", "commit", *arguments, container, reference], timeout=300)
    finally:
        process.run(["docker", "rm", "--volumes", container], timeout=60, check=False)
    return inspect([reference])[reference]


def put_texts(container: str, files: Mapping[str, str]) -> None:
    """Put files, by path, into a container, which need not run. Raises CommandFailed."""
    process.run(["docker", "cp", "-", f"{container}:/"], stdin=packed(files), timeout=60)


def packed(files: Mapping[str, str]) -> bytes:
    """The files as a tar, owned by root. Pure."""
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return into.getvalue()


def prune() -> None:
    """Remove those of our images that lost their names: stages of builds, and what was replaced. Used ones stay."""
    argv = ["docker", "image", "prune", "--force", "--filter", f"label={labels.MANAGED}=true"]
    process.run(argv, timeout=300, check=False)
