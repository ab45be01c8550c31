"""app.*: the sample workload."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.lab import CHANNEL, NAME, open_lab
from threezone.tasks.runtime import say, task


@task(
    help={
        "name": NAME,
        "path": "the kustomization to apply (default: the sample app, local/gitops/apps/hello)",
        "channel": CHANNEL,
    }
)
def deploy(c: Context, name: str = "", path: str = "", channel: str = "") -> None:
    """Put the sample app into the cluster by hand, without Flux and Git; app.open then shows it. Safe to repeat."""
    from pathlib import Path

    from threezone.extras import sample_app

    lab = open_lab(name, channel, "")
    sample_app.deploy(lab, Path(path) if path else lab.root / sample_app.PATH)
    say(sample_app.app_answer(lab.api, lab.settings.app))


@task(
    name="open",
    help={
        "name": NAME,
        "port": "port on 127.0.0.1 to open the app on; 0 lets the system choose",
        "once": "print what the app answers and return",
    },
)
def open_(c: Context, name: str = "", port: int = 0, once: bool = False) -> None:
    """Open the sample app on a loopback port until Ctrl-C; --once prints its answer and returns."""
    from threezone.extras import sample_app

    lab = open_lab(name, context="")
    say(sample_app.app_answer(lab.api, lab.settings.app))
    if not once:
        sample_app.open_app(lab, port, lambda address: say(f"http://{address}/ until Ctrl-C"))
