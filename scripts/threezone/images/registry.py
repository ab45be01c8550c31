"""The local registry: one container for all clusters of this engine, which keeps its images when clusters come and go.

The program is `distribution`: its public image by digest, or built from its Go module. The engine publishes it on
127.0.0.1 only, and the nodes reach it by its name on their network. It speaks plain HTTP there, which engines accept
for loopback addresses and for no others. Mirrors are further instances that fetch from one public registry each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from threezone.clients.docker import containers
from threezone.clients.docker import volumes as storage
from threezone.clients.docker.images import pull
from threezone.core import labels, process
from threezone.core.errors import CommandFailed, EngineError, ToolError, UsageError
from threezone.core.events import step
from threezone.core.plan import Step, StepKind
from threezone.images import debian_base, engine_images
from threezone.images.build import Channel
from threezone.images.engine_images import Image
from threezone.images.versions import images
from threezone.toolchain import cache, golang
from threezone.toolchain.golang import Program

STORE = "/var/lib/registry"
DEFAULT_NETWORK = "bridge"
MODULE = "github.com/distribution/distribution/v3"
START_SECONDS = 30.0
LISTENS = "listening on"  # registry/registry.go, ListenAndServe
DOCKER_HUB = "docker.io"


@dataclass(frozen=True)
class Wanted:
    """One instance as it shall be: the container's name, its port there, where it fetches from ("": it is pushed to).

    Only the one that is pushed to is published, on the same port of 127.0.0.1. `of` is that one's name.
    """

    name: str
    port: int
    upstream: str = ""
    of: str = ""

    @property
    def address(self) -> str:
        """Where nodes and pods reach it."""
        return f"{self.name}:{self.port}"


@dataclass(frozen=True)
class Seen:
    """One instance as it is. `recipe` is what it was made from, the rest as in Wanted."""

    name: str
    state: str
    image: str
    recipe: str
    port: int
    upstream: str = ""

    @property
    def running(self) -> bool:
        """Whether it answers, as far as the engine knows."""
        return self.state == "running"


def instances(name: str, port: int, mirrors: Sequence[str] = ()) -> tuple[Wanted, ...]:
    """What the settings ask for: the registry itself, and an instance per public registry that is mirrored."""
    named = {host: f"{name}-{host.replace('.', '-').replace(':', '-')}" for host in mirrors}
    return (Wanted(name, port, of=name), *(Wanted(named[host], port, host, name) for host in mirrors))


def address(port: int) -> str:
    """The name that images have in it: the same for a push on the engine's host and for a pod's image."""
    return f"localhost:{port}"


def url(upstream: str) -> str:
    """Where a public registry answers."""
    return "https://registry-1.docker.io" if upstream == DOCKER_HUB else f"https://{upstream}"


def reference(channel: Channel) -> str:
    """How its image is asked for. Raises UsageError when the project's pins have no digest of it."""
    pin = images().registry
    if channel == "source":
        return f"threezone/registry:{pin.version}-{engine_images.digest('registry')}"
    if pin.digest is None:
        raise UsageError(
            f"no digest is pinned for {pin.release}:{pin.version}",
            fix="add images.registry.digest to local/pins.toml, or use --channel source",
        )
    return f"{pin.release}:{pin.version}@{pin.digest}"


def program() -> Program:
    """The registry's program, as its releases are built."""
    version = images().registry.version
    symbols = (f"-X {MODULE}/version.version={version}", f"-X {MODULE}/version.mainpkg={MODULE}")
    return Program(
        module=MODULE,
        version=f"v{version}",
        package=f"{MODULE}/cmd/registry",
        name="registry",
        ldflags=symbols,
        goos="linux",
    )


def ensure_image(channel: Channel) -> Image:
    """Its image, pulled or built when the engine lacks it."""
    wanted = reference(channel)
    if found := engine_images.inspect([wanted]):
        return found[wanted]
    with cache.exclusive("registry-image"):
        if not engine_images.inspect([wanted]):
            _get(wanted, channel)
    return engine_images.inspect([wanted])[wanted]


def _get(wanted: str, channel: Channel) -> None:
    if channel == "release":
        with step(f"pull {wanted.partition('@')[0]}"):
            pull(wanted)
        return
    built = golang.build(program())
    with step("build the registry's image"):
        files = {"bin/registry": built}
        engine_images.build(
            wanted, "registry", made_from=engine_images.digest("registry"), base=debian_base.ensure(), files=files
        )


def observe(name: str) -> dict[str, Seen]:
    """The registry `name` and its mirrors, by their containers' names, stopped ones too.

    One call to the engine, a second one where there are any.
    """
    listed = containers.inspect(*(row[0] for row in containers.ls(f"label={labels.REGISTRY}")))
    return {seen.name: seen for of, seen in map(_read, listed) if of == name}


def _read(document: dict[str, Any]) -> tuple[str, Seen]:
    """An instance in the engine's own description of a container, and whose it is. Pure."""
    config = document["Config"]
    of, port, upstream = config["Labels"][labels.REGISTRY].split("/")
    return of, Seen(
        name=document["Name"].lstrip("/"),
        state=document["State"]["Status"],
        image=config["Image"],
        recipe=config["Labels"].get(engine_images.RECIPE, ""),
        port=int(port),
        upstream=upstream,
    )


def recipe(wanted: Wanted, image: str, network: str) -> str:
    """A digest of what an instance is made from: another one means that its container is made anew."""
    return cache.key(
        "", [wanted.name, wanted.port, wanted.upstream, wanted.of], image, network, " ".join(_OPTIONS)
    ).lstrip("-")


# What it may do: write its volume. It needs no privilege for that, and keeps none.
_OPTIONS = (
    "--restart=unless-stopped",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--env=OTEL_TRACES_EXPORTER=none",
)


def command(wanted: Wanted, image: str, network: str) -> list[str]:
    """What starts an instance. Pure."""
    argv = containers.service_command(wanted.name, network)
    argv += [*_OPTIONS, "--volume", f"{wanted.name}:{STORE}", f"--env=REGISTRY_HTTP_ADDR=:{wanted.port}"]
    if wanted.upstream:
        argv += [f"--env=REGISTRY_PROXY_REMOTEURL={url(wanted.upstream)}"]
    else:
        argv += ["--env=REGISTRY_STORAGE_DELETE_ENABLED=true", f"--publish=127.0.0.1:{wanted.port}:{wanted.port}"]
    marks = {
        labels.REGISTRY: f"{wanted.of}/{wanted.port}/{wanted.upstream}",
        engine_images.RECIPE: recipe(wanted, image, network),
    }
    return [*argv, *(f"--label={key}={value}" for key, value in marks.items()), image]


def plan(wanted: Sequence[Wanted], seen: dict[str, Seen], image: str, network: str) -> tuple[Step, ...]:
    """What makes the instances run as they shall; each step's target is an instance's name. Pure."""
    actions = []
    for each in wanted:
        now = seen.get(each.name)
        if now is not None and now.running and now.recipe == recipe(each, image, network):
            continue
        what = f"a mirror of {each.upstream}" if each.upstream else f"the registry {address(each.port)}"
        how = "start" if now is None else "start again, with the images that it has,"
        actions.append(
            Step(
                StepKind.START_REGISTRY,
                f"{how} {what}",
                process.paste(command(each, image, network)),
                target=each.name,
            )
        )
    names = {each.name for each in wanted}
    actions.extend(
        Step(
            StepKind.STOP_REGISTRY,
            f"stop the mirror of {old.upstream}, which the settings name no more",
            f"docker rm -f {name}",
            target=name,
        )
        for name, old in seen.items()
        if old.upstream and name not in names
    )
    return tuple(actions)


def apply(actions: Sequence[Step], wanted: Sequence[Wanted], image: str, network: str) -> None:
    """Carry a plan out. The volumes stay, so that an instance that is made anew has its images."""
    by_name = {each.name: each for each in wanted}
    there = observe(wanted[0].name) if actions else {}
    for action in actions:
        name = action.target
        with step(action.sentence):
            if name in there:
                containers.remove(name, check=True)
            if name in by_name:
                _start(by_name[name], image, network)


def _start(wanted: Wanted, image: str, network: str) -> None:
    storage.create(wanted.name, {labels.MANAGED: "true", labels.REGISTRY: wanted.of})
    try:
        process.run(command(wanted, image, network), timeout=60)
    except CommandFailed as error:
        raise _explained(error, wanted) from None
    wait_listening(wanted.name)


def _explained(error: CommandFailed, wanted: Wanted) -> UsageError | EngineError:
    """Why an instance did not start, in the engine's words. What it left is removed by the next start."""
    taken = ("already allocated", "address already in use", "port is not available", "ports are not available")
    if any(words in error.tail for words in taken):
        return UsageError(
            f"port {wanted.port} on 127.0.0.1 is taken, so the registry cannot be published there",
            evidence=error.tail,
            fix=f"free it (docker ps --filter publish={wanted.port}), or set threezone.registry.port in invoke.yaml",
        )
    if "is already in use by container" in error.tail:
        return UsageError(
            f"a container named {wanted.name} is there that threezone did not make; it is left alone",
            evidence=error.tail,
            fix=f"remove or rename it: docker rename {wanted.name} another-name",
        )
    return EngineError(f"the container {wanted.name} does not start", evidence=error.tail)


def wait_listening(name: str) -> None:
    """Watch an instance's log until it listens. Raises ToolError with its last lines when it ends or stays silent."""
    heard = threading.Event()

    def line(text: str) -> None:
        if LISTENS in text:
            heard.set()

    deadline = time.monotonic() + START_SECONDS
    with containers.follow_logs(name, line) as log:
        while not heard.wait(0.1) and log.alive and time.monotonic() < deadline:
            continue
        tail = log.tail
    if not heard.is_set():
        raise ToolError(f"the registry {name} does not listen", evidence=tail, fix=f"docker logs {name}")


def stop(name: str, *, delete: bool) -> tuple[str, ...]:
    """Stop and remove the instances; with `delete` also what they hold. Returns the names of what was removed."""
    gone = sorted(observe(name))
    if gone:
        with step("stop the registry"):
            containers.remove(*gone, check=True)
    if not delete:
        return tuple(gone)
    with step("delete what the registry holds"):
        held = volumes(name)
        storage.remove(*held)
    return tuple(sorted({*gone, *held}))


def volumes(name: str) -> tuple[str, ...]:
    """The volumes of the registry `name` and its mirrors, running or not."""
    return storage.ls(f"{labels.REGISTRY}={name}")
