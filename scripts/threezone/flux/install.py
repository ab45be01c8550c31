"""Plan and apply an installation of Flux."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from threezone.clients import kind
from threezone.clients.flux import export
from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import wait_for_namespace_deletion
from threezone.cluster import containers, node_images
from threezone.cluster.lab import WAIT_SECONDS, Lab
from threezone.core import redaction
from threezone.core.errors import Declined, EngineError
from threezone.core.events import step
from threezone.core.plan import Plan, Step, StepKind
from threezone.flux import components as flux
from threezone.flux import installation, manifests
from threezone.images import build


@functools.cache
def objects(program: Path, components: tuple[str, ...], *, ours: bool = True) -> list[Json]:
    """The objects that the CLI carries for these components; `ours` with shorter waits (manifests.with_short_waits)."""
    manifest = export(program, components, flux.NAMESPACE)
    return manifests.parse(manifests.with_short_waits(manifest) if ours else manifest)


def plan(lab: Lab, asked: Sequence[str] = ()) -> tuple[Plan, list[Json]]:
    """What installs the asked components (none: those that run, or the channel's), and the objects that it applies."""
    installed = installation.observe(lab.api)
    components = installation.choose(asked, lab.channel, installed)
    wanted = objects(lab.tools["flux"], components)
    wanted = manifests.with_proxies(manifests.with_network_ca(wanted, lab.network_ca), _proxies_or_live(lab))
    # Our shorter waits alone are no reason to replace somebody else's Flux.
    compared = objects(lab.tools["flux"], components, ours=False) if installed and not installed.ours else wanted
    changes = manifests.changes(lab.api, compared) if installed else ()
    return installation.plan(installed, flux.NAMESPACE, manifests.version(wanted), components, changes), wanted


def manifest(lab: Lab, components: tuple[str, ...]) -> str:
    """What `plan` applies, as a manifest to commit: without the Secret of proxies, which may have a password."""
    text = manifests.with_short_waits(export(lab.tools["flux"], components, flux.NAMESPACE))
    has_proxies = bool(proxies(lab))
    if not (lab.network_ca or has_proxies):
        return text
    import yaml

    wanted = manifests.with_network_ca(manifests.parse(text), lab.network_ca)
    if has_proxies:
        wanted = [manifests.with_proxies_from_secret(item) for item in wanted]
    return yaml.safe_dump_all(wanted, sort_keys=False)


def proxies(lab: Lab) -> dict[str, str] | None:
    """The proxies of the lab's nodes, which Flux uses too; None where the engine that has the nodes is not here.

    They are those of the environment in which the cluster was created: a node keeps them.
    """
    if not lab.kind_cluster:
        return None
    try:
        nodes = [node for node in kind.nodes(lab.kind_cluster) if node.in_kubernetes]
    except EngineError:
        return None
    return next((each.proxies for each in containers.inspect(nodes[:1])), None)


def _proxies_or_live(lab: Lab) -> dict[str, str]:
    """The proxies of the nodes; where nobody sees these, those that Flux has already."""
    found = proxies(lab)
    if found is None:
        found = manifests.proxies(lab.api.get(manifests.PROXIES_PATH.format(namespace=flux.NAMESPACE)))
    for value in found.values():
        if "@" in value:
            redaction.keep_secret(value)
    return found


def install(lab: Lab, present: frozenset[str] = frozenset(), *, agreed: str = "") -> None:
    """Apply the components that run, or the channel's, and wait for none.

    Raises Declined for somebody else's Flux, and for a downgrade other than the one whose sentence was `agreed` to.
    """
    chosen, wanted = plan(lab)
    if asking := [each for each in chosen.steps if each.asks and not agreed.startswith(each.sentence)]:
        raise Declined(
            f"not changed, because it needs a yes: {asking[0].sentence}", fix="./run invoke flux.install --yes"
        )
    apply(lab, [action for action in chosen.steps if action.kind is StepKind.INSTALL_FLUX], wanted, present)


def apply(lab: Lab, actions: Sequence[Step], wanted: list[Json], present: frozenset[str] = frozenset()) -> None:
    """Carry a plan of `plan` out; `present` are images that every node is known to have."""
    if actions and lab.channel == "source":
        images, hint = build.ensure("flux", lab.channel), "./run invoke flux.install --channel release"
        node_images.load_missing(lab, images, hint, present=present)
    for action in actions:
        if action.kind is StepKind.INSTALL_FLUX:
            with step("install Flux") as running:
                wait_for_namespace_deletion(lab.api, flux.NAMESPACE)  # after an uninstall it takes a while to go
                manifests.apply(lab.api, wanted)
                running.result = f"{len(wanted)} objects"
        else:
            flux.wait_ready(lab.api, manifests.components(wanted), WAIT_SECONDS)
