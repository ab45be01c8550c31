"""The preloaded node image: a node image with Flux's controllers, the Git server and the sample app in its containerd.

A cluster made from it has every image that bringing the lab up asks for, so nothing is loaded then. It is made once per
combination: its name follows from the node image, the images inside, and the script that puts them there. Nothing
depends on it: where it cannot be made, clusters come from the plain node image and are loaded as before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.docker import images as docker_images
from threezone.core import events, labels, paths
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
DEADLINE = 600  # seconds; the container ends by itself then, if nobody is left who removes it
SPACE = 2e9  # bytes: an archive of the images, and the image


@dataclass(frozen=True)
class Part:
    """An image that goes inside: the engine's content id, and the names that it has there."""

    id: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Combination:
    """What a preloaded node image is made of. `reference` is its name."""

    node: Image
    parts: tuple[Part, ...]

    @property
    def recipe(self) -> str:
        """A digest of everything that decides its content."""
        facts = [[part.id, part.names] for part in self.parts]
        return cache.key("", self.node.id, facts, engine_images.digest(NAME)).lstrip("-")

    @property
    def reference(self) -> str:
        """The name by which the engine has it, if it has it."""
        return f"{REPOSITORY}:{self.node.reference.partition('@')[0].rpartition(':')[2]}-{self.recipe}"


def combine(present: Mapping[str, Sequence[Image]], released: Sequence[Image] = ()) -> Combination | None:
    """What goes together, from images by name (build.observe) and Flux's pulled ones; None while one lacks."""
    node = next((group[0] for name, group in present.items() if build.is_node(name)), None)
    if node is None or any(name not in present for name in build.NAMES[1:]):
        return None
    (git,), (hello,) = present["git-server"], present["hello"]
    flux = [Part(image.id, (image.reference.partition("@")[0],)) for image in (*present["flux"], *released)]
    own = (Part(git.id, (git.reference,)), Part(hello.id, (hello.reference, build.APP)))
    return Combination(node, (*flux, *own))


def observe(
    names: Sequence[str], channel: Channel, present: Mapping[str, Sequence[Image]] | None = None
) -> tuple[Combination | None, Image | None]:
    """What it would be made of now, and the image if the engine has it.

    `names` are the lab's images, `present` what build.observe has just said of them.
    """
    present = build.observe(names, channel) if present is None else present
    combination = combine(present, _pulled(channel))
    if combination is None:
        return None, None
    return combination, engine_images.inspect([combination.reference]).get(combination.reference)


def ensure(names: Sequence[str], channel: Channel) -> tuple[Image, frozenset[str]]:
    """The node image to make clusters from: the preloaded one, made if need be, else (with a note) the plain one.

    `names` are the lab's images. Returns the names of those that are in it, too. Raises what build.ensure_all raises:
    without its parts there is no lab either.
    """
    present = build.ensure_all(names, channel)
    node = next(group[0] for name, group in present.items() if build.is_node(name))
    try:
        _pull(channel)
        combination, made = observe(names, channel, present)
        assert combination is not None  # noqa: S101  every part is present
        inside = frozenset(name for part in combination.parts for name in part.names)
        return made or _made(combination), inside
    except (ThreezoneError, OSError) as trouble:
        events.note(f"no preloaded node image, so images are loaded into the nodes instead: {trouble}")
        return node, frozenset()


def _pulled(channel: Channel) -> list[Image]:
    """Those of Flux's released images that the engine has; what is built is no concern of a registry's."""
    return list(engine_images.inspect(images().released.flux).values()) if channel == "release" else []


def _pull(channel: Channel) -> None:
    """Fetch Flux's released images. One that cannot be had is left out: the cluster pulls it as before."""
    if channel != "release":
        return
    wanted = images().released.flux
    there = engine_images.inspect(wanted)
    missing = [reference for reference in wanted if reference not in there]
    if not missing:
        return
    with events.step(f"pull {len(missing)} images of Flux") as step:
        try:
            for reference in missing:
                step.say(reference.partition("@")[0])
                docker_images.pull(reference)
        except ToolError as error:  # its registry is not to be reached, and it is the others' too
            step.result = f"left to the cluster: {error.message}"


def _made(combination: Combination) -> Image:
    """The image of a combination, made unless the engine has it."""
    reference = combination.reference
    with engine_images.scratch("preload") as place:
        if found := engine_images.inspect([reference]):  # whoever we waited for made it
            return found[reference]
        if (free := shutil.disk_usage(place).free) < SPACE:
            raise ToolError(f"{SPACE / 1e9:.0f} GB of free disk are needed, and {place} has {free / 1e9:.1f} GB")
        with events.step(f"put {len(combination.parts)} images into the node image, once") as step:
            _make(combination, place)
            made = engine_images.inspect([reference])[reference]
            step.result = f"{made.size / 1e6:.0f} MB"
    return made


def _make(combination: Combination, place: Path) -> None:
    """Unpack the parts in a container of the node image, and commit that."""
    node, recipe = combination.node, combination.recipe
    # Names of this build's own: others may give the parts' own names to other content meanwhile.
    temporary = {f"{TEMPORARY}:{number}-{recipe}": part for number, part in enumerate(combination.parts)}
    _forget(TEMPORARY)  # a killed build's
    try:
        for name, part in temporary.items():
            docker_images.tag(part.id, name)
        docker_images.save(place / "images.tar", *temporary, timeout=DEADLINE)
        lines = [
            f"docker.io/{name} {engine_images.full(final)}\n"
            for name, part in temporary.items()
            for final in part.names
        ]
        (place / "names").write_text("".join(lines))
        engine_images.unpack(
            node.id,
            combination.reference,
            cache.key("threezone-preload", str(paths.cache_dir())),  # a name per cache, and so per lock
            files=(place / "images.tar", place / "names"),
            script=Path(NAME, "import-more"),
            changes=(*_start_of(node), f"LABEL {labels.MANAGED}=true {engine_images.RECIPE}={recipe}"),
            seconds=DEADLINE,
        )
    finally:
        _forget(TEMPORARY)


def _forget(repository: str) -> None:
    """Remove every name of a repository that exists during a build only."""
    docker_images.remove(*docker_images.names(repository))


def _start_of(node: Image) -> list[str]:
    """How the node image starts, as a commit's changes: the container of a build starts otherwise."""
    (document,) = docker_images.inspect(node.id)
    entrypoint, command = (document["Config"].get(key) or [] for key in ("Entrypoint", "Cmd"))
    return [f"ENTRYPOINT {json.dumps(entrypoint)}", f"CMD {json.dumps(command)}"]
