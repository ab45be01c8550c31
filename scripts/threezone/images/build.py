"""The lab's images: their names, whether the engine has them, and how to get missing ones.

Two channels. `release`: the node image is pulled by digest, Flux's images come from their registry inside the cluster,
our own two are built on a public Debian. `source`: everything is built from Debian packages and Go modules.
`node:1.34` is the node image of another Kubernetes version; `balancer` serves several control planes.
"""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from threezone.clients.docker.images import pull
from threezone.core import events, paths, pins
from threezone.core.background import Background, attempt_all, run_all
from threezone.core.errors import ToolError, UsageError
from threezone.images import debian_base, engine_images, node_image, programs
from threezone.images.bundle.format import BundledImage
from threezone.images.bundle.record import accepted
from threezone.images.engine_images import Image
from threezone.images.versions import (
    NodePin,
    RegistryPin,
    images,
    node_for,
    require_controllers,
    require_digest,
    require_parts,
)
from threezone.toolchain import cache, golang

Channel = Literal["release", "source"]
NAMES = ("node", "flux", "git-server", "hello")
OWN = ("git-server", "hello")
BALANCER = "balancer"
REGISTRY = "registry"
APP = "threezone/hello:lab"  # the sample app as a commit names it: built images are named by content, which changes
# Seconds that building an image takes on two cores, without its programs.
SECONDS = {"node": 80, "flux": 10, "git-server": 30, "hello": 30, BALANCER: 20, REGISTRY: 10}
COLD_SPACE = 16e9  # bytes for a build of everything from source: Go's caches 13, images and scratch 3
WARM_SPACE = 2e9
COLD_SECONDS = 120.0  # a plan with more seconds of compiling needs COLD_SPACE
PACE_SECONDS = 60.0  # after these of the plan, estimates use this machine's own pace
MINUTES_FROM = 90  # seconds


@dataclass(frozen=True)
class Part:
    """One piece of work: its title, its seconds with empty caches on two cores, and the function that does it."""

    title: str
    seconds: float
    run: Callable[[], object]


@dataclass(frozen=True)
class Work:
    """`programs` use the processors, `beside` runs at the same time and uses the network, `last` runs after both.

    `fetches` run at the same time, too: they bring what `programs` need, a little earlier. Their failures are ignored,
    for the program that needs the same fails with the better message.
    """

    programs: tuple[Part, ...] = ()
    beside: tuple[Part, ...] = ()
    fetches: tuple[Callable[[], object], ...] = ()
    last: tuple[Part, ...] = ()

    @property
    def seconds(self) -> float:
        """The duration of all parts with empty caches on two cores."""
        compiling, beside, last = (
            sum(part.seconds for part in parts) for parts in (self.programs, self.beside, self.last)
        )
        return max(compiling, beside) + last


def references(name: str, channel: Channel) -> tuple[str, ...]:
    """The references of the image `name`: several for Flux, none for Flux in the release channel."""
    pinned = images()
    if is_node(name):
        pin = _node_pin(name)
        if channel == "source":
            require_parts(pin)
            return (f"threezone/node:v{pin.version}",)
        return (f"{pin.release}:v{pin.version}@{require_digest(pin, pins.tools().kind.version)}",)
    if name == BALANCER:
        return (pinned.balancer.release,)
    if name == "flux":
        if channel == "source":
            require_controllers(pinned.flux)
        controllers = programs.flux_controllers(pinned.flux) if channel == "source" else ()
        return tuple(f"ghcr.io/fluxcd/{program.name}:{program.version}" for program in controllers)
    if name in OWN:
        return (f"threezone/{name}:{engine_images.digest('common', name)}",)
    if name == REGISTRY:
        return (_registry(pinned.registry, channel),)
    raise UsageError(f"there is no image {name!r}", fix=f"one of: {', '.join((*NAMES, BALANCER, REGISTRY, 'all'))}")


def _registry(pin: RegistryPin, channel: Channel) -> str:
    """The reference of the local registry's image. Raises UsageError when the pins have no digest of it."""
    if channel == "source":
        return f"threezone/registry:{pin.version}-{engine_images.digest(REGISTRY)}"
    if pin.digest is None:
        raise UsageError(
            f"no digest is pinned for {pin.release}:{pin.version}",
            fix="add images.registry.digest to local/pins.toml, or use --channel source",
        )
    return f"{pin.release}:{pin.version}@{pin.digest}"


def names_for(kubernetes: str) -> tuple[str, ...]:
    """The lab's images with the node of this Kubernetes version ("": the project's own)."""
    return (f"node:{node_for(kubernetes).version}" if kubernetes else "node", *NAMES[1:])


def is_node(name: str) -> bool:
    """Whether `name` is a node image, of any Kubernetes version."""
    return name.partition(":")[0] == "node"


def _node_pin(name: str) -> NodePin:
    """The pin of `node` or `node:VERSION`."""
    return node_for(name.partition(":")[2])


def has_all(names: Sequence[str], channel: Channel) -> bool:
    """Whether the engine has all of these images from this channel; False if the channel lacks one."""
    try:
        return len(observe(names, channel)) == len(names)
    except UsageError:  # no digest, or no parts, of that Kubernetes
        return False


def observe(names: Sequence[str], channel: Channel) -> dict[str, tuple[Image, ...]]:
    """The images that the engine has with the expected content, by name; one call to the engine."""
    wanted = {name: references(name, channel) for name in names}
    present = engine_images.inspect([reference for group in wanted.values() for reference in group])
    bundled = accepted()
    expected = functools.cache(lambda name: made_from(name, channel))

    def fits(name: str, reference: str) -> bool:
        image = present.get(reference)
        if image is None:
            return False
        pulled_by_user = name == BALANCER and not image.recipe  # kind's own image
        came_in_bundle = bundled.get(reference) == BundledImage(image.recipe, inputs(name, channel))
        return pulled_by_user or came_in_bundle or expected(name) in ("", image.recipe)

    return {
        name: tuple(present[reference] for reference in group)
        for name, group in wanted.items()
        if all(fits(name, reference) for reference in group)
    }


def made_from(name: str, channel: Channel) -> str:
    """The content hash of an image's inputs; "" when its digest is pinned or its recipe is its tag.

    The hash decides whether a machine builds the image again, so its inputs must not change without need.
    """
    if not (parts := _inputs(name, channel)):
        return ""
    return cache.key("", *parts, debian_base.reference(), golang.architecture()).lstrip("-")


def inputs(name: str, channel: Channel) -> str:
    """The content hash of those inputs that do not depend on this machine; "" as in `made_from`."""
    parts = _inputs(name, channel)
    return cache.key("", *parts).lstrip("-") if parts else ""


def _inputs(name: str, channel: Channel) -> list[str]:
    if channel == "release" or name in (*OWN, REGISTRY):
        return []
    if name == "flux":
        return [str(images().flux), engine_images.digest("flux")]
    if name == BALANCER:
        return [engine_images.digest("common", BALANCER)]
    recipes = engine_images.digest("common", "node", "system", "program")
    return [str(_node_pin(name)), pins.tools().kind.version, recipes]


def ensure(name: str, channel: Channel) -> tuple[Image, ...]:
    """The image `name` (Flux: several images); it is pulled or built if the engine lacks it or has other content."""
    return ensure_all((name,), channel)[name]


def ensure_all(names: Sequence[str], channel: Channel) -> dict[str, tuple[Image, ...]]:
    """Several images, by name. Missing ones are planned, announced with an estimate, and built part by part."""
    present = observe(names, channel)
    if len(present) < len(set(names)):
        with cache.exclusive("images"):
            present = observe(names, channel)  # another process may have built them while we waited
            if missing := [name for name in names if name not in present]:
                _make(missing, channel)
                present |= observe(missing, channel)
    if missing := [name for name in names if name not in present]:
        raise ToolError(f"the engine does not keep the image {missing[0]}", fix="docker system df shows its disk usage")
    return present


def _make(names: Sequence[str], channel: Channel) -> None:
    planned = plan(names, channel)
    _require_space(planned)
    with events.step(f"{'build' if channel == 'source' else 'get'} {', '.join(names)}") as step:
        work(planned, step)
    engine_images.prune()


def plan(names: Sequence[str], channel: Channel) -> Work:
    """The work for the images `names`, without cached parts."""
    nodes = [name for name in names if is_node(name)]

    def building(*chosen: str) -> tuple[Part, ...]:
        return tuple(
            Part(f"{name} image", SECONDS[name.partition(":")[0]], partial(_build, name, channel))
            for name in chosen
            if name in names
        )

    if channel == "release":
        released = [name for name in (*nodes, BALANCER, REGISTRY) if name in names]
        pulled = [reference for name in released for reference in references(name, channel)]
        return Work(
            beside=tuple(Part(f"pull {reference}", 60, partial(pull, reference)) for reference in pulled),
            last=building(*OWN),
        )
    groups = [group for name in nodes for group in programs.of_node(_node_pin(name))]
    if "flux" in names:
        controllers = programs.flux_controllers(images().flux)
        groups += [(program.name, programs.FLUX_SECONDS[program.name], (program,)) for program in controllers]
    if REGISTRY in names:
        groups.append(("registry", 60, programs.REGISTRY.in_version(images().registry.version)))
    base = debian_base.reference()
    groups = [group for group in groups if golang.built(*group[2]) is None]
    # The largest come first: the others reuse their packages, and no large one is left to a single worker at the end.
    groups.sort(key=lambda group: -group[1])
    return Work(
        programs=tuple(Part(title, seconds, partial(golang.build_together, group)) for title, seconds, group in groups),
        fetches=tuple(partial(golang.fetch, group) for _, _, group in groups[1:]),
        beside=(
            *([] if engine_images.inspect([base]) else [Part("Debian base", 60, debian_base.ensure)]),
            *building(*OWN, BALANCER),
        ),
        last=building(*nodes, "flux", REGISTRY),
    )


def _build(name: str, channel: Channel) -> None:
    """Build the image `name` (Flux: several images) from its recipe. Missing programs are built first."""
    base = images().base.release if channel == "release" else debian_base.ensure()
    recipe = [REGISTRY] if name == REGISTRY else ["common", name]
    inputs = made_from(name, channel) or engine_images.digest(*recipe)
    if is_node(name):
        kind = pins.tools().kind.version
        (reference,) = references(name, channel)
        node_image.build(reference, _node_pin(name), kind_version=kind, base=base, made_from=inputs)
    elif name == "flux":
        controllers = programs.flux_controllers(images().flux)
        for program, reference in zip(controllers, references(name, channel), strict=True):
            files = {f"bin/{program.name}": golang.build(program)}
            engine_images.build(reference, name, made_from=inputs, base=base, target=program.name, files=files)
    else:
        files = {}
        if name == REGISTRY:
            files["bin/registry"] = golang.build(*programs.REGISTRY.in_version(images().registry.version))
        engine_images.build(references(name, channel)[0], name, made_from=inputs, base=base, files=files)


def work(planned: Work, step: events.Progress) -> None:
    """Do the work, with an estimate of the rest before each part. A failure in `beside` ends all of it."""
    parts = (*planned.programs, *planned.last)
    numbers, done = itertools.count(1), [0.0]

    def run(part: Part) -> None:
        pace = step.seconds / sum(done) if sum(done) > PACE_SECONDS else 1.0
        rest = max(0.0, planned.seconds - sum(done)) * pace
        duration = f"{rest / 60:.0f} min" if rest >= MINUTES_FROM else f"{rest:.0f} s"
        step.say(f"part {next(numbers)} of {len(parts)}: {part.title}; about {duration} to go")
        part.run()
        done.append(part.seconds)

    # The next run removes or finishes what Ctrl-C leaves of these.
    beside = Background(lambda: [part.run() for part in planned.beside])
    attempt_all(planned.fetches)
    run_all([partial(run, part) for part in planned.programs], golang.BUILDS, beside.check)
    beside.join()
    for part in planned.last:
        run(part)


def _require_space(planned: Work) -> None:
    """Raise ToolError before anything is built when the disk is too small for the plan."""
    needed = COLD_SPACE if sum(part.seconds for part in planned.programs) > COLD_SECONDS else WARM_SPACE
    directory = paths.cache_dir()
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise ToolError(
            f"{needed / 1e9:.0f} GB of free disk are needed to build, and {directory} has {free / 1e9:.1f} GB",
            fix="free space (docker system df shows the engine's share), or set THREEZONE_CACHE to another disk",
        )
