"""The local registry and the clusters that know it: start, stop, and what a new cluster is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threezone.clients.docker import networks
from threezone.clients.kind import Node
from threezone.cluster import containerd_mirrors as wiring
from threezone.cluster.lab import Lab
from threezone.core.events import optional
from threezone.core.plan import Step
from threezone.images import build, engine_images, registry
from threezone.images.registry import DEFAULT_NETWORK, Instance, LiveInstance
from threezone.zones.locate import kind_network


@dataclass(frozen=True)
class RegistryPlan:
    """What is to be done, for which instances, from which image, on which network, and the nodes that are told."""

    steps: tuple[Step, ...]
    wanted: tuple[Instance, ...]
    image: str
    network: str
    nodes: tuple[Node, ...]


def network() -> str:
    """The nodes' network; before there is one, the engine's default (the first cluster moves the registry over)."""
    wanted = kind_network()
    return wanted if wanted in networks.names() else DEFAULT_NETWORK


def wanted(lab: Lab) -> tuple[Instance, ...]:
    """The instances that the settings ask for."""
    chosen = lab.settings.registry
    return registry.instances(chosen.name, chosen.port, chosen.mirrors)


def plan(lab: Lab) -> RegistryPlan:
    """What makes the registry run as the settings say. A running one keeps the image that it has."""
    asked = wanted(lab)
    seen = registry.observe(asked[0].name)
    now = seen.get(asked[0].name)
    if now is not None and now.running:
        image = now.image
    else:
        (image,) = build.references(build.REGISTRY, lab.channel)
    there = network()
    actions = registry.plan(asked, seen, image, there)
    return RegistryPlan(actions, asked, image, there, tuple(wiring.reachable()))


def start(lab: Lab, chosen: RegistryPlan) -> tuple[str, ...]:
    """Carry it out, and tell every cluster of ours that runs. Returns those that know the registry."""
    if chosen.steps and not engine_images.inspect([chosen.image]):
        build.ensure(build.REGISTRY, lab.channel)
    registry.apply(chosen.steps, chosen.wanted, chosen.image, chosen.network)
    return wiring.wire(chosen.nodes, chosen.wanted)


def tell(lab: Lab) -> None:
    """Make the registry known to the session's cluster, if there is one that runs; a failure is only a warning."""
    name = lab.settings.registry.name
    with optional(f"the cluster {lab.name} does not know the local registry (./run invoke registry.start)"):
        seen = registry.observe(name)
        if name not in seen or not seen[name].running:
            return
        instances, image, there = known(name, seen), seen[name].image, network()
        registry.apply(registry.plan(instances, seen, image, there), instances, image, there)
        wiring.wire(wiring.reachable(lab.name), instances)


def known(name: str, seen: dict[str, LiveInstance]) -> tuple[Instance, ...]:
    """The instances as whoever started them wanted them: the settings differ between projects. Pure."""
    mirrors = [each.upstream for _, each in sorted(seen.items()) if each.upstream]
    return registry.instances(name, seen[name].port, mirrors)


def stop(name: str, *, delete: bool) -> Sequence[str]:
    """Stop the registry, and have the clusters that run forget it. Returns the names of what was removed."""
    seen = registry.observe(name)
    if name in seen:
        wiring.unwire(wiring.reachable(), known(name, seen))
    return registry.stop(name, delete=delete)
