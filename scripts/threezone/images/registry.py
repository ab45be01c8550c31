"""The local registry: one container for all clusters of this engine. It keeps its images when clusters are deleted.

The program is `distribution`: its public image by digest, or built from its Go module. The engine publishes it on
127.0.0.1 only, and the nodes reach it by its name on their network. It uses plain HTTP, which engines accept for
loopback addresses only. Each mirror is another instance, which fetches from one public registry.

Loopback is shared with other users of the machine, and the network with every pod. So the registry itself asks for a
password (registry_login); mirrors hold public images only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from threezone.clients.docker import containers
from threezone.clients.docker import volumes as storage
from threezone.core import labels, process
from threezone.core.errors import CommandFailed, EngineError, ToolError, UsageError
from threezone.core.events import step
from threezone.core.plan import Step, StepKind
from threezone.images import engine_images, registry_login
from threezone.toolchain import cache

STORE = "/var/lib/registry"
DEFAULT_NETWORK = "bridge"
START_SECONDS = 30.0
LISTENS = "listening on"  # registry/registry.go, ListenAndServe
DOCKER_HUB = "docker.io"
PORT_TAKEN = ("already allocated", "address already in use", "port is not available", "ports are not available")
# An instance only writes to its volume, so it needs no privileges.
_OPTIONS = (
    "--restart=unless-stopped",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--env=OTEL_TRACES_EXPORTER=none",
)


@dataclass(frozen=True)
class Instance:
    """A wanted instance: container name, port, and the registry that it mirrors ("": images are pushed to it).

    Only the registry itself (without `upstream`) is published, on the same port of 127.0.0.1. `of` is its name.
    """

    name: str
    port: int
    upstream: str = ""
    of: str = ""

    @property
    def address(self) -> str:
        """Its address for nodes and pods."""
        return f"{self.name}:{self.port}"


@dataclass(frozen=True)
class LiveInstance:
    """An instance in the engine. `recipe` is the content hash of its inputs; the rest is as in Instance."""

    name: str
    state: str
    image: str
    recipe: str
    port: int
    upstream: str = ""

    @property
    def running(self) -> bool:
        """Whether its container runs."""
        return self.state == "running"


def instances(name: str, port: int, mirrors: Sequence[str] = ()) -> tuple[Instance, ...]:
    """The instances that the settings ask for: the registry itself, and a mirror for each public registry."""
    named = {host: f"{name}-{host.replace('.', '-').replace(':', '-')}" for host in mirrors}
    return (Instance(name, port, of=name), *(Instance(named[host], port, host, name) for host in mirrors))


def address(port: int) -> str:
    """The registry in image names, both for a push on the engine's host and for a pod."""
    return f"localhost:{port}"


def url(upstream: str) -> str:
    """The URL of a public registry."""
    return "https://registry-1.docker.io" if upstream == DOCKER_HUB else f"https://{upstream}"


def observe(name: str) -> dict[str, LiveInstance]:
    """The registry `name` and its mirrors, by their containers' names, stopped ones too."""
    documents = containers.inspect(*(row[0] for row in containers.ls(f"label={labels.REGISTRY}")))
    return {instance.name: instance for of, instance in map(_decode, documents) if of == name}


def _decode(document: dict[str, Any]) -> tuple[str, LiveInstance]:
    """The registry that a container belongs to, and the instance, from the engine's description of the container."""
    config = document["Config"]
    of, port, upstream = config["Labels"][labels.REGISTRY].split("/")
    return of, LiveInstance(
        name=document["Name"].lstrip("/"),
        state=document["State"]["Status"],
        image=config["Image"],
        recipe=config["Labels"].get(engine_images.RECIPE, ""),
        port=int(port),
        upstream=upstream,
    )


def recipe(wanted: Instance, image: str, network: str) -> str:
    """The content hash of an instance's inputs; its container is replaced when the hash changes."""
    instance = [wanted.name, wanted.port, wanted.upstream, wanted.of]
    login = () if wanted.upstream else registry_login.options(STORE)
    return cache.key("", instance, image, network, " ".join((*_OPTIONS, *login))).lstrip("-")


def command(wanted: Instance, image: str, network: str) -> list[str]:
    """The command that creates the container of an instance."""
    argv = containers.service_command(wanted.name, network)
    argv += [*_OPTIONS, "--volume", f"{wanted.name}:{STORE}", f"--env=REGISTRY_HTTP_ADDR=:{wanted.port}"]
    if wanted.upstream:
        argv += [f"--env=REGISTRY_PROXY_REMOTEURL={url(wanted.upstream)}"]
    else:
        argv += ["--env=REGISTRY_STORAGE_DELETE_ENABLED=true", f"--publish=127.0.0.1:{wanted.port}:{wanted.port}"]
        argv += registry_login.options(STORE)
    argv += [f"--label={labels.REGISTRY}={wanted.of}/{wanted.port}/{wanted.upstream}"]
    return [*argv, f"--label={engine_images.RECIPE}={recipe(wanted, image, network)}", image]


def plan(wanted: Sequence[Instance], live: dict[str, LiveInstance], image: str, network: str) -> tuple[Step, ...]:
    """The steps that make the wanted instances run, and others stop; a step's target is an instance's name. Pure."""
    steps = []
    for instance in wanted:
        old = live.get(instance.name)
        if old is not None and old.running and old.recipe == recipe(instance, image, network):
            continue
        what = f"a mirror of {instance.upstream}" if instance.upstream else f"the registry {address(instance.port)}"
        verb = "start" if old is None else "start again, keeping its images,"
        created = process.paste(command(instance, image, network))
        pasted = f"{created} && {process.paste(containers.start_command(instance.name))}"
        steps.append(Step(StepKind.START_REGISTRY, f"{verb} {what}", pasted, target=instance.name))
    names = {instance.name for instance in wanted}
    for name, old in live.items():
        if old.upstream and name not in names:
            sentence = f"stop the mirror of {old.upstream}, which is no longer in the settings"
            steps.append(Step(StepKind.STOP_REGISTRY, sentence, f"docker rm -f {name}", target=name))
    return tuple(steps)


def apply(steps: Sequence[Step], wanted: Sequence[Instance], image: str, network: str) -> None:
    """Carry out a plan. The volumes stay, so that a replaced instance keeps its images."""
    by_name = {instance.name: instance for instance in wanted}
    live = observe(wanted[0].name) if steps else {}
    for planned in steps:
        name = planned.target
        with step(planned.sentence):
            if name in live:
                containers.remove(name, check=True)
            if name in by_name:
                _start(by_name[name], image, network)


def _start(wanted: Instance, image: str, network: str) -> None:
    storage.create(wanted.name, {labels.MANAGED: "true", labels.REGISTRY: wanted.of})
    try:
        process.run(command(wanted, image, network), timeout=60)
        if not wanted.upstream:
            registry_login.ensure(wanted.name, STORE)
        containers.start(wanted.name)
    except CommandFailed as error:
        raise _explained(error, wanted) from None
    _wait_listening(wanted.name)


def _explained(error: CommandFailed, wanted: Instance) -> UsageError | EngineError:
    """The error for an instance that did not start. The next start removes its container."""
    if any(words in error.tail for words in PORT_TAKEN):
        return UsageError(
            f"port {wanted.port} on 127.0.0.1 is taken, so the registry cannot be published there",
            evidence=error.tail,
            fix=f"free it (docker ps --filter publish={wanted.port}), or set threezone.registry.port in invoke.yaml",
        )
    if "is already in use by container" in error.tail:
        return UsageError(
            f"the container {wanted.name} exists, but threezone did not create it, so it stays",
            evidence=error.tail,
            fix=f"remove or rename it: docker rename {wanted.name} another-name",
        )
    return EngineError(f"the container {wanted.name} does not start", evidence=error.tail)


def _wait_listening(name: str) -> None:
    """Watch an instance's log until it listens. Raises ToolError with its last lines when it ends or stays silent."""
    listening = threading.Event()

    def line(text: str) -> None:
        if LISTENS in text:
            listening.set()

    deadline = time.monotonic() + START_SECONDS
    with containers.follow_logs(name, line) as log:
        while not listening.wait(0.1) and log.alive and time.monotonic() < deadline:
            continue
        tail = log.tail
    if not listening.is_set():
        raise ToolError(f"the registry {name} does not listen", evidence=tail, fix=f"docker logs {name}")


def stop(name: str, *, delete: bool) -> tuple[str, ...]:
    """Stop and remove the instances; with `delete` their images too. Returns the removed names."""
    removed = sorted(observe(name))
    if removed:
        with step("stop the registry"):
            containers.remove(*removed, check=True)
    if not delete:
        return tuple(removed)
    with step("delete the registry's images"):
        deleted = volumes(name)
        storage.remove(*deleted)
    return tuple(sorted({*removed, *deleted}))


def volumes(name: str) -> tuple[str, ...]:
    """The volumes of the registry `name` and its mirrors, running or not."""
    return storage.ls(f"{labels.REGISTRY}={name}")
