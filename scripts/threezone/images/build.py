"""The lab's images: which there are, whether the engine has them, and getting those that are missing.

Two channels. `release`: the node image is pulled by digest, Flux's images come from their registry inside the cluster,
our own two are built on a public Debian. `source`: everything is built from Debian packages and Go modules.
`node:1.34` is the node image of another Kubernetes than the project's; `balancer` stands before several control planes.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from threezone.clients.docker.images import pull
from threezone.core import events, paths, pins
from threezone.core.errors import ToolError, UsageError
from threezone.images import debian_base, engine_images, node_image, programs
from threezone.images.engine_images import Image
from threezone.images.versions import Images, NodePin, images, node_for, require_digest, require_parts
from threezone.toolchain import cache, golang
from threezone.toolchain.golang import Program

Channel = Literal["release", "source"]
NAMES = ("node", "flux", "git-server", "hello")
OWN = ("git-server", "hello")
BALANCER = "balancer"
APP = "threezone/hello:lab"  # the sample app as a commit names it: built images are named by content, which changes
COLD_SPACE = 16e9  # bytes that everything from source needs: Go's caches 13, images and scratch 3
WARM_SPACE = 2e9


MINUTES_FROM = 90  # seconds
COLD_FROM = 120.0  # seconds of compiling that a plan must hold to be called cold
PACED = 60.0  # seconds of the plan that must be done before its pace is believed


@dataclass(frozen=True)
class Part:
    """One piece of work: what it is, how long it takes cold on two cores (seconds), and how it is done."""

    title: str
    seconds: float
    run: Callable[[], object]


def references(name: str, channel: Channel) -> tuple[str, ...]:
    """How the image `name` is asked for; several for Flux, none for Flux in the release channel."""
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
        if channel == "release":
            return ()
        return tuple(f"ghcr.io/fluxcd/{p.name}:{p.version}" for p in programs.flux_controllers(pinned.flux))
    if name in OWN:
        return (f"threezone/{name}:{engine_images.digest('common', name)}",)
    raise UsageError(f"there is no image {name!r}", fix=f"one of: {', '.join((*NAMES, BALANCER, 'all'))}")


def names_for(kubernetes: str) -> tuple[str, ...]:
    """The lab's images with the node of the Kubernetes that is asked for ("": the project's own)."""
    return (f"node:{node_for(kubernetes).version}" if kubernetes else "node", *NAMES[1:])


def has_all(names: Sequence[str], channel: Channel) -> bool:
    """Whether the engine has all of them from this channel; not when the channel cannot have one of them."""
    try:
        return len(observe(names, channel)) == len(names)
    except UsageError:  # no digest, or no parts, of that Kubernetes
        return False


def is_node(name: str) -> bool:
    """Whether `name` is a node image, of whichever Kubernetes."""
    return name.partition(":")[0] == "node"


def _node_pin(name: str) -> NodePin:
    """What `node` or `node:VERSION` is."""
    return node_for(name.partition(":")[2])


def ensure(name: str, channel: Channel) -> tuple[Image, ...]:
    """The image `name` (Flux: its several), pulled or built when the engine lacks it or has one made otherwise."""
    return ensure_all((name,), channel)[name]


def ensure_all(names: Sequence[str], channel: Channel) -> dict[str, tuple[Image, ...]]:
    """Several images at once: what is missing is planned, told with an estimate, and made part by part."""
    present = observe(names, channel)
    if len(present) < len(set(names)):
        with cache.exclusive("images"):
            present = observe(names, channel)  # whoever we waited for may have made them
            missing = [name for name in names if name not in present]
            if missing:
                _make(missing, channel)
                present |= observe(missing, channel)
    lost = [name for name in names if name not in present]
    if lost:
        raise ToolError(f"the engine does not keep the image {lost[0]}", fix="docker system df shows its disk")
    return present


def _make(names: Sequence[str], channel: Channel) -> None:
    todo = plan(names, channel)
    _require_space(todo)
    with events.step(f"{'build' if channel == 'source' else 'get'} {', '.join(names)}") as step:
        work(todo, step)
    engine_images.prune()


def observe(names: Sequence[str], channel: Channel) -> dict[str, tuple[Image, ...]]:
    """Those of the images that the engine has as they should be; one call to it."""
    wanted = {name: references(name, channel) for name in names}
    found = engine_images.inspect([reference for group in wanted.values() for reference in group])
    expected = {name: made_from(name, channel) for name in names}

    def fits(name: str, reference: str) -> bool:
        image = found.get(reference)
        theirs = name == BALANCER and image is not None and not image.recipe  # kind's own image, pulled by the user
        return image is not None and (not expected[name] or image.recipe == expected[name] or theirs)

    return {
        name: tuple(found[reference] for reference in group)
        for name, group in wanted.items()
        if all(fits(name, reference) for reference in group)
    }


def made_from(name: str, channel: Channel) -> str:
    """What decides an image's content, as a digest; "" when its digest is pinned or its recipe is its tag."""
    if channel == "release" or name in OWN:
        return ""
    pinned = images()
    if name == "flux":
        facts: list[object] = [str(pinned.flux), engine_images.digest("flux")]
    elif name == BALANCER:
        facts = [engine_images.digest("common", BALANCER)]
    else:
        facts = [
            str(_node_pin(name)),
            pins.tools().kind.version,
            engine_images.digest("common", "node", "system", "program"),
        ]
    return _digest(*facts, debian_base.reference(), golang.architecture())


def _digest(*facts: object) -> str:
    return cache.key("", *facts).lstrip("-")


@dataclass(frozen=True)
class Work:
    """Work: `programs` keep the processors busy, `beside` waits for the network meanwhile, `last` needs both."""

    programs: tuple[Part, ...] = ()
    beside: tuple[Part, ...] = ()
    last: tuple[Part, ...] = ()

    @property
    def seconds(self) -> float:
        """How long all of it takes cold on two cores."""
        side = sum(part.seconds for part in self.beside)
        return max(sum(part.seconds for part in self.programs), side) + sum(part.seconds for part in self.last)


def plan(names: Sequence[str], channel: Channel) -> Work:
    """What has to be done for the images `names`, without what the caches already hold."""
    pinned = images()
    own = [name for name in OWN if name in names]
    nodes = [name for name in names if is_node(name)]
    balancers = [name for name in names if name == BALANCER]
    if channel == "release":
        pulled = [reference for name in (*nodes, *balancers) for reference in references(name, channel)]
        return Work(
            beside=tuple(Part(f"pull {reference}", 60, partial(pull, reference)) for reference in pulled),
            last=tuple(Part(f"{name} image", 30, partial(_own, name, channel)) for name in own),
        )
    missing = [part for part, group in _programs(names, pinned) if golang.built(*group) is None]
    last = [Part(f"{name} image", 80, partial(_node, name)) for name in nodes]
    if "flux" in names:
        last.append(Part("Flux's images", 10, partial(_flux, pinned)))
    return Work(
        programs=tuple(missing),
        beside=(
            *(
                ()
                if debian_base.reference() in engine_images.inspect([debian_base.reference()])
                else (Part("Debian base", 60, debian_base.ensure),)
            ),
            *(Part(f"{name} image", 30, partial(_own, name, channel)) for name in own),
            *(Part(f"{name} image", 20, _balancer) for name in balancers),
        ),
        last=tuple(last),
    )


def _programs(names: Sequence[str], pinned: Images) -> list[tuple[Part, tuple[Program, ...]]]:
    """Every group of Go programs that the images need. The largest first: the others share what it compiles."""
    groups: list[tuple[str, float, tuple[Program, ...]]] = []
    for pin in (_node_pin(name) for name in names if is_node(name)):
        groups += [
            (f"Kubernetes {pin.version}", 350, programs.kubernetes_programs(pin)),
            ("containerd", 100, programs.containerd(pin)),
            ("etcd", 55, (programs.etcd(pin),)),
            ("CoreDNS", 140, (programs.coredns(pin),)),
            ("local-path-provisioner", 50, (programs.local_path_provisioner(pin),)),
            ("CNI plugins", 10, programs.cni_plugins(pin)),
        ]
    if "flux" in names:
        seconds = {"source-controller": 150, "kustomize-controller": 90, "helm-controller": 65}
        groups += [(p.name, seconds[p.name], (p,)) for p in programs.flux_controllers(pinned.flux)]
    return [(Part(title, cost, partial(golang.build_together, group)), group) for title, cost, group in groups]


def _own(name: str, channel: Channel) -> None:
    under = images().base.release if channel == "release" else debian_base.ensure()
    engine_images.build(references(name, channel)[0], name, made_from=engine_images.digest("common", name), base=under)


def _balancer() -> None:
    engine_images.build(
        references(BALANCER, "source")[0],
        BALANCER,
        made_from=made_from(BALANCER, "source"),
        base=debian_base.ensure(),
    )


def _node(name: str) -> None:
    node_image.build(
        references(name, "source")[0],
        _node_pin(name),
        kind_version=pins.tools().kind.version,
        base=debian_base.ensure(),
        made_from=made_from(name, "source"),
    )


def _flux(pinned: Images) -> None:
    for program, reference in zip(programs.flux_controllers(pinned.flux), references("flux", "source"), strict=True):
        engine_images.build(
            reference,
            "flux",
            made_from=made_from("flux", "source"),
            base=debian_base.ensure(),
            target=program.name,
            files={f"bin/{program.name}": golang.build(program)},
        )


def work(todo: Work, step: events.Progress) -> None:
    """Do a plan, saying before each part how long the rest may take; a failure beside the programs ends all of it."""
    failures: list[BaseException] = []

    def beside() -> None:
        try:
            for part in todo.beside:
                part.run()
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
            failures.append(error)

    # A daemon: after Ctrl-C nobody waits for it, and what it leaves is removed or finished by the next run.
    thread = threading.Thread(target=beside, daemon=True)
    thread.start()
    done, parts = 0.0, (*todo.programs, *todo.last)
    for number, part in enumerate(parts, start=1):
        if part is (todo.last[0] if todo.last else None):
            thread.join()
        if failures:
            raise failures[0]
        pace = step.seconds / done if done > PACED else 1.0  # this machine against the figures
        left = max(0.0, todo.seconds - done) * pace
        step.say(f"part {number} of {len(parts)}: {part.title}; about {_duration(left)} to go")
        part.run()
        done += part.seconds
    thread.join()
    if failures:
        raise failures[0]


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= MINUTES_FROM else f"{seconds:.0f} s"


def _require_space(todo: Work) -> None:
    """Refuse before the first byte when the disk cannot hold what the plan makes. Raises ToolError."""
    needed = COLD_SPACE if sum(part.seconds for part in todo.programs) > COLD_FROM else WARM_SPACE
    place = paths.cache_dir()
    place.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ToolError(
            f"{needed / 1e9:.0f} GB of free disk are needed to build, and {place} has {free / 1e9:.1f} GB",
            fix="free space (docker system df shows the engine's share), or set THREEZONE_CACHE to another disk",
        )
