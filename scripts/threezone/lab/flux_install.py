"""Flux in the session's cluster: what that takes, and its objects applied."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from threezone.errors import Declined
from threezone.events import step
from threezone.gitops import flux, flux_installation, flux_manifests
from threezone.images import build
from threezone.kube.client import Json
from threezone.kube.waiting import namespace_usable
from threezone.lab import images
from threezone.lab.session import GENTLE_SECONDS, Session
from threezone.plan import Action


@functools.cache
def objects(program: Path, components: tuple[str, ...], *, ours: bool = True) -> list[Json]:
    """The objects that the CLI carries for these components; `ours` with what we make quicker."""
    manifest = flux_manifests.export(program, components, flux.NAMESPACE)
    return flux_manifests.parse(flux_manifests.impatient(manifest) if ours else manifest)


def plan(session: Session, asked: Sequence[str] = ()) -> tuple[flux_installation.Plan, list[Json]]:
    """What installs the asked components (none: those that run, or the channel's), and the objects that it applies."""
    seen = flux_installation.observe(session.api)
    components = flux_installation.choose(asked, session.channel, seen)
    wanted = objects(session.tools["flux"], components)
    # What we like better is no reason to take a Flux of others over.
    compared = objects(session.tools["flux"], components, ours=False) if seen and not seen.ours else wanted
    changes = flux_manifests.changes(session.api, compared) if seen else ()
    version = flux_manifests.version(wanted)
    return flux_installation.plan(seen, flux.NAMESPACE, version, components, changes), wanted


def install(session: Session) -> None:
    """Apply the components that run, or the channel's, and wait for none. Raises Declined for a Flux of others."""
    chosen, wanted = plan(session)
    if asking := [action for action in chosen.actions if action.asks]:
        raise Declined(f"left alone, for it needs a yes: {asking[0].sentence}", fix="./run invoke flux.install --yes")
    apply(session, [action for action in chosen.actions if action.key == "flux.apply"], wanted)


def apply(session: Session, actions: Sequence[Action], wanted: list[Json]) -> None:
    """Carry a plan of `plan` out."""
    components = flux_manifests.components(wanted)
    if actions and session.channel == "source":
        images.load_missing(
            session, build.ensure("flux", session.channel), "./run invoke flux.install --channel release"
        )
    for action in actions:
        if action.key == "flux.apply":
            with step("install Flux") as running:
                namespace_usable(session.api, flux.NAMESPACE)  # after an uninstall it takes a while to go
                flux_manifests.apply(session.api, wanted)
                running.result = f"{len(wanted)} objects"
        else:
            flux.wait_ready(session.api, components, GENTLE_SECONDS)
