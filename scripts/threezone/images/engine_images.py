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

from threezone.clients.docker import containers, images
from threezone.core import labels, paths
from threezone.core.errors import ToolError
from threezone.toolchain import cache

RECIPE = "io.threezone.recipe"  # what the image was made from, as a digest
RECIPES = Path(__file__).with_name("recipes")
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
    found: dict[str, Image] = {}
    for document in images.inspect(*references):
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
        marks = {labels.MANAGED: "true", RECIPE: made_from}
        proxies = sorted(PROXIES & os.environ.keys())  # by name only: an address may hold a password
        arguments = [*proxies, *([f"BASE={base}"] if base else [])]
        images.build(reference, context, labels=marks, arguments=arguments, target=target)


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


def derive(
    base: str, reference: str, labels: Mapping[str, str], files: Mapping[str, str] = MappingProxyType({})
) -> Image:
    """`base` with more labels and with `files` by path, as `reference`, without a builder; made unless it is that."""
    present = inspect([base, reference])
    if base not in present:
        raise ToolError(f"the image {base} is not there", fix="./run invoke image.build node")
    content = json.dumps(dict(files), sort_keys=True).encode()
    recipe = present[base].id + (f"+{hashlib.sha256(content).hexdigest()[:16]}" if files else "")
    if reference in present and present[reference].recipe == recipe:
        return present[reference]
    # A container that never runs, committed: only its metadata and these files differ, so no other layer is made or
    # copied. It has the labels too, so that what a killed run left of it is found.
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
    *,
    files: Sequence[Path],
    script: Path,
    changes: Sequence[str],
    seconds: int,
) -> None:
    """Put `files` into a container of `base`, run the recipe's `script` there, and commit it as `reference`.

    The container's name comes from its lock: what a killed build left running is removed first.
    """
    with containers.temporary(base, container, seconds):
        for file in files:
            containers.put(container, file, f"/{file.name}", timeout=seconds)
        content = (RECIPES / script).read_text(encoding="utf-8")
        containers.execute(container, "bash", "-s", stdin=content, timeout=seconds)
        containers.commit(container, reference, changes, timeout=seconds)


def put_texts(container: str, files: Mapping[str, str]) -> None:
    """Put files, by path, into a container, which need not run. Raises CommandFailed."""
    containers.put_archive(container, packed(files))


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
    images.prune(f"{labels.MANAGED}=true")
