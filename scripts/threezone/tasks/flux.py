"""flux.*: Flux in the cluster."""

from __future__ import annotations

from dataclasses import asdict

from invoke import Context

from threezone.tasks.edge import emit, say, table, task
from threezone.tasks.lab import CHANNEL, NAME, session


@task(help={"name": NAME, "channel": CHANNEL})
def install(c: Context, name: str = "", channel: str = "") -> None:
    """Install the Flux components that the channel has and wait for them; a pod that cannot start is told at once."""
    from threezone.gitops import flux
    from threezone.lab import steps

    at = session(name, channel)
    steps.install_flux(at)
    seen = flux.require(flux.observe(at.api))
    say(f"Flux {seen.version} is ready: {', '.join(component.name for component in seen.components)}")


@task(help={"name": NAME, "json": "print the observation as JSON"})
def status(c: Context, name: str = "", json: bool = False) -> None:
    """Show Flux's components and the revision it applied. Exit 6 when something is not ready."""
    from threezone.errors import DeliveryError
    from threezone.gitops import delivery, flux

    at = session(name)
    seen = flux.observe(at.api)
    delivered = delivery.observe(at.api, at.lab.settings.gitops.repository)
    if json:
        emit(
            {
                "version": seen.version or None,
                "ready": seen.ready,
                "components": [asdict(component) for component in seen.components],
                "delivery": asdict(delivered) if delivered else None,
            }
        )
    elif seen.components:
        rows = [["COMPONENT", "READY", "IMAGE"]]
        rows.extend([part.name, "yes" if part.ready else "no", part.image] for part in seen.components)
        say(table(rows))
        say(f"applied: {delivered.applied or 'nothing yet'} ({delivered.message})" if delivered else "nothing declared")
    flux.require(seen)
    if delivered and not delivered.ready:
        raise DeliveryError("the delivery is not ready", evidence=delivered.message, fix="./run invoke gitops.push")
