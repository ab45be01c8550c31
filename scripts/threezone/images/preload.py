"""The preloaded node image: a node image with Flux's controllers, the Git server and the sample app in its containerd.

A cluster from it has every image of the lab, so nothing has to be loaded. It is built once per combination: its name is
a content hash of the node image, the images inside, and the script that unpacks them. It is optional: if it cannot be
built, clusters use the plain node image, and images are loaded into them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.docker import images as docker_images
from threezone.core import events, paths
from threezone.core.errors import ThreezoneError, ToolError
from threezone.images import build, engine_images
from threezone.images.build import Channel
from threezone.images.engine_images import Image
from threezone.images.versions import images
from threezone.toolchain import cache

NAME = "preloaded"
REPOSITORY = "threezone/preloaded"
TEMPORARY = "threezone/preload"  # the repository of names that exist during a build only
ABOUT_SECONDS = 20  # on two cores
DEADLINE = 600  # seconds; then the container ends by itself, even if this process was killed
SPACE = 2e9  # bytes: an archive of the images, and the image


@dataclass(frozen=True)
class Part:
    """An image that goes inside: the engine's content id, and the names that it has there."""

    id: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Combination:
    """The node image and the parts of a preloaded node image."""

    node: Image
    parts: tuple[Part, ...]

    @property
    def recipe(self) -> str:
        """The content hash of its inputs."""
        inputs = [[part.id, part.names] for part in self.parts]
        return cache.key("", self.node.id, inputs, engine_images.digest(NAME)).lstrip("-")

    @property
    def reference(self) -> str:
        """The name of the preloaded image in the engine."""
        return f"{REPOSITORY}:{self.node.reference.partition('@')[0].rpartition(':')[2]}-{self.recipe}"


def combine(present: Mapping[str, Sequence[Image]], released: Sequence[Image] = ()) -> Combination | None:
    """The combination of images by name (build.observe) and Flux's pulled images; None if one is missing."""
    node = _node(present)
    if node is None or any(name not in present for name in build.NAMES[1:]):
        return None
    (git,), (hello,) = present["git-server"], present["hello"]
    flux = [Part(image.id, (image.reference.partition("@")[0],)) for image in (*present["flux"], *released)]
    own = (Part(git.id, (git.reference,)), Part(hello.id, (hello.reference, build.APP)))
    return Combination(node, (*flux, *own))


def _node(present: Mapping[str, Sequence[Image]]) -> Image | None:
    return next((group[0] for name, group in present.items() if build.is_node(name)), None)


def observe(
    names: Sequence[str], channel: Channel, present: Mapping[str, Sequence[Image]] | None = None
) -> tuple[Combination | None, Image | None]:
    """The combination of the lab's images `names`, and its preloaded image if the engine has it.

    `present` is the result of build.observe, if the caller has it.
    """
    present = build.observe(names, channel) if present is None else present
    released = engine_images.inspect(images().released.flux).values() if channel == "release" else ()
    combination = combine(present, list(released))
    if combination is None:
        return None, None
    return combination, engine_images.inspect([combination.reference]).get(combination.reference)


def ensure(names: Sequence[str], channel: Channel) -> tuple[Image, frozenset[str]]:
    """The node image for clusters: the preloaded one or, if that fails, the plain one (with a note).

    `names` are the lab's images. Also returns the names of the images inside. Raises the errors of build.ensure_all, as
    there is no lab without its images.
    """
    present = build.ensure_all(names, channel)
    try:
        if channel == "release":
            _pull(images().released.flux)
        combination, image = observe(names, channel, present)
        assert combination is not None  # noqa: S101  every part is present
        inside = frozenset(name for part in combination.parts for name in part.names)
        return image or _ensure(combination), inside
    except (ThreezoneError, OSError) as error:
        events.note(f"no preloaded node image, so images are loaded into the nodes instead: {error}")
        node = _node(present)
        assert node is not None  # noqa: S101  the lab's images have a node
        return node, frozenset()


def _pull(references: Sequence[str]) -> None:
    """Fetch Flux's released images. If that fails, the cluster pulls them itself."""
    present = engine_images.inspect(references)
    missing = [reference for reference in references if reference not in present]
    if not missing:
        return
    with events.step(f"pull {len(missing)} images of Flux") as step:
        try:
            for reference in missing:
                step.say(reference.partition("@")[0])
                docker_images.pull(reference)
        except ToolError as error:  # all of them come from the same registry, so the others would fail too
            step.result = f"the cluster will pull them: {error.message}"


def _ensure(combination: Combination) -> Image:
    """The image of a combination; it is built unless the engine has it."""
    reference = combination.reference
    with engine_images.scratch("preload") as directory:
        if present := engine_images.inspect([reference]):  # another process may have built it while we waited
            return present[reference]
        if (free := shutil.disk_usage(directory).free) < SPACE:
            raise ToolError(f"{SPACE / 1e9:.0f} GB of free disk are needed, and {directory} has {free / 1e9:.1f} GB")
        with events.step(f"put {len(combination.parts)} images into the node image, once") as step:
            _make(combination, directory)
            image = engine_images.inspect([reference])[reference]
            step.result = f"{image.size / 1e6:.0f} MB"
    return image


def _make(combination: Combination, directory: Path) -> None:
    """Unpack the parts in a container of the node image, and commit the container."""
    node, recipe = combination.node, combination.recipe
    # Temporary names: another process may move the parts' own names to other content meanwhile.
    temporary = {f"{TEMPORARY}:{number}-{recipe}": part for number, part in enumerate(combination.parts)}
    (document,) = docker_images.inspect(node.id)
    # The container of the build starts another program, so the commit restores the node's program.
    start = [f"{key.upper()} {json.dumps(document['Config'].get(key) or [])}" for key in ("Entrypoint", "Cmd")]
    docker_images.remove(*docker_images.names(TEMPORARY))  # those of a killed build
    try:
        for name, part in temporary.items():
            docker_images.tag(part.id, name)
        engine_images.unpack(
            node.id,
            combination.reference,
            cache.key("threezone-preload", str(paths.cache_dir())),  # a name per cache, and so per lock
            {name: part.names for name, part in temporary.items()},
            directory=directory,
            script=f"{NAME}/import-more",
            changes=start,
            made_from=recipe,
            seconds=DEADLINE,
            architecture="".join(node.architectures),
        )
    finally:
        docker_images.remove(*docker_images.names(TEMPORARY))
