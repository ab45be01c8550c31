"""Images in the container engine: inspect them, build them from a recipe, derive them from others.

Recipes work with BuildKit and with the classic builder: Debian's engine has only the classic one.
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

from threezone.clients.docker import containers, images
from threezone.core import labels, paths
from threezone.core.errors import ToolError
from threezone.images.oci_layout import ATTESTATION
from threezone.toolchain import cache

RECIPE = "io.threezone.recipe"  # the label with the content hash of an image's inputs
RECIPES = Path(__file__).with_name("recipes")
PROXIES = {"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}


@dataclass(frozen=True)
class Image:
    """An image in the engine: its name, the engine's content id, bytes on disk, recipe label, and architectures."""

    reference: str
    id: str
    size: int
    recipe: str = ""
    architectures: tuple[str, ...] = ()


def inspect(references: Sequence[str]) -> dict[str, Image]:
    """The images that the engine has, by reference, in one call. Raises EngineError when it does not answer."""
    present: dict[str, Image] = {}
    for document in images.inspect(*references):
        labels = (document.get("Config") or {}).get("Labels") or {}
        names = {_short(name) for key in ("RepoTags", "RepoDigests") for name in document.get(key) or ()}
        # An engine that has no platform of an image that it could run says "unknown" or nothing.
        architecture = str(document.get("Architecture") or ATTESTATION)
        architectures = () if architecture == ATTESTATION else (architecture,)
        for reference in references:
            # The engine lists name:tag without the digest and name@digest without the tag.
            name, _, digest = reference.partition("@")
            if _short(f"{name.rsplit(':', 1)[0]}@{digest}" if digest else name) in names:
                size, recipe = int(document["Size"]), labels.get(RECIPE, "")
                present[reference] = Image(reference, document["Id"], size, recipe, architectures)
    return present


def _short(reference: str) -> str:
    """A reference as the engine shows it: without the default registry."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def full(reference: str) -> str:
    """A reference as containerd writes it: with its registry, and with a tag (distribution/reference, normalize.go)."""
    name = reference if ":" in reference.rpartition("/")[2] or "@" in reference else f"{reference}:latest"
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return f"docker.io/{rest}" if first == "index.docker.io" else name
    return f"docker.io/{name}" if rest else f"docker.io/library/{name}"


def digest(*names: str) -> str:
    """The content hash of recipe directories: file names, modes and contents."""
    content = hashlib.sha256()
    for name in names:
        for path in sorted((RECIPES / name).rglob("*")):
            if path.is_file():
                content.update(f"{path.relative_to(RECIPES)} {path.stat().st_mode & 0o100:o}\n".encode())
                content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:12]


def build(
    reference: str,
    recipe: str,
    *,
    made_from: str,
    base: str = "",
    target: str = "",
    files: Mapping[str, Path] = MappingProxyType({}),
    trees: Mapping[str, Path] = MappingProxyType({}),
) -> None:
    """Build the directory `recipe` as `reference`, labelled with `made_from`.

    `base` is the argument BASE, `target` a stage. `files` and `trees` are put into the context, by relative path.
    """
    with scratch(f"build-{reference}") as context:
        for directory in ("common", recipe):
            shutil.copytree(RECIPES / directory, context, dirs_exist_ok=True)
        for name, source in files.items():
            put(source, context / name)
        for name, source in trees.items():
            shutil.copytree(source, context / name, dirs_exist_ok=True)
        marks = {labels.MANAGED: "true", RECIPE: made_from}
        proxies = sorted(PROXIES & os.environ.keys())  # by name only: an address may contain a password
        arguments = [*proxies, *([f"BASE={base}"] if base else [])]
        images.build(reference, context, labels=marks, arguments=arguments, target=target)


def put(source: Path, target: Path) -> None:
    """Link the file `source` as `target`, or copy it if links do not work."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _scratch(name: str) -> tuple[str, Path]:
    """The lock and the directory of `scratch(name)`."""
    lock = name.replace("/", "-").replace(":", "-")
    return lock, paths.cache_dir() / "tmp" / lock


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty directory in the cache with its own lock. Leftovers of a killed run are removed first."""
    lock, directory = _scratch(name)
    with cache.exclusive(lock):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def sweep(name: str) -> None:
    """Remove the leftovers of a killed run in `scratch(name)`, unless they are in use."""
    from filelock import FileLock, Timeout

    lock, directory = _scratch(name)
    if directory.exists():
        with suppress(Timeout), FileLock(paths.cache_dir() / "locks" / f"{lock}.lock", timeout=0):
            shutil.rmtree(directory, ignore_errors=True)


def derive(
    base: str, reference: str, labels: Mapping[str, str], files: Mapping[str, str] = MappingProxyType({})
) -> Image:
    """The image `reference`: `base` with more labels and with `files` by path. It is made without a builder."""
    present = inspect([base, reference])
    if base not in present:
        raise ToolError(f"the engine has no image {base}", fix="./run invoke image.build node")
    content = json.dumps(dict(files), sort_keys=True).encode()
    recipe = present[base].id + (f"+{hashlib.sha256(content).hexdigest()[:16]}" if files else "")
    if reference in present and present[reference].recipe == recipe:
        return present[reference]
    # Commit a container that never runs: only its metadata and these files differ, so no other layer is copied.
    # The labels are on the container too, so that the leftover of a killed run can be found and removed.
    container = containers.create(base, labels)
    try:
        if files:
            put_texts(container, files)
        changes = [f"LABEL {key}={json.dumps(value)}" for key, value in {**labels, RECIPE: recipe}.items()]
        containers.commit(container, reference, changes)
    finally:
        containers.remove(container)
    return inspect([reference])[reference]


def unpack(
    base: str,
    reference: str,
    container: str,
    contents: Mapping[str, Sequence[str]],
    *,
    directory: Path,
    script: str,
    changes: Sequence[str],
    made_from: str,
    seconds: int,
    architecture: str = "",
) -> None:
    """Put images into the containerd of `base`, and commit that as `reference`, labelled with `made_from`.

    `architecture` is that of `base`: of an image for several platforms only this one is taken.

    `contents` are the engine's images, each with its names inside. The recipe's `script` unpacks them in a container
    that ends by itself after `seconds`. The caller holds a lock for its name, so leftovers can be removed first.
    """
    archive, names = directory / "images.tar", directory / "names"
    images.save(archive, *contents, architecture=architecture, timeout=seconds)
    names.write_text(
        "".join(f"docker.io/{image} {full(name)}\n" for image, inside in contents.items() for name in inside)
    )
    with containers.temporary(base, container, seconds):
        for file in (archive, names):
            containers.put(container, file, f"/{file.name}", timeout=seconds)
        commands = (RECIPES / script).read_text(encoding="utf-8")
        containers.execute(container, "bash", "-s", stdin=commands, timeout=seconds)
        label = f"LABEL {labels.MANAGED}=true {RECIPE}={made_from}"
        containers.commit(container, reference, [*changes, label], timeout=seconds)


def put_texts(container: str, files: Mapping[str, str], *, directory: str = "/", mode: int = 0o644) -> None:
    """Put files, by path below `directory`, into a container, even a stopped one. Raises CommandFailed."""
    containers.put_archive(container, packed(files, mode), directory)


def packed(files: Mapping[str, str], mode: int = 0o644) -> bytes:
    """The files as a tar archive, owned by root."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(text.encode()), mode
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive.getvalue()


def prune() -> None:
    """Remove our images without a name: stages of builds, and replaced images. Those in use stay."""
    images.prune(f"{labels.MANAGED}=true")
