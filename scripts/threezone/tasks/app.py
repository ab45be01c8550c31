"""app.*: the sample workload."""

from pathlib import Path
from typing import Annotated

from threezone.tasks.options import Channel, ClusterName, open_lab
from threezone.tasks.runtime import say, task


@task
def deploy(
    name: ClusterName = "",
    path: Annotated[str, "the kustomization to apply (default: the sample app, local/gitops/apps/hello)"] = "",
    channel: Channel = "",
) -> None:
    """Apply the sample app by hand, without Flux and Git; app.open then shows it. Safe to repeat."""
    from threezone.extras import sample_app

    lab = open_lab(name, channel, "")
    sample_app.deploy(lab, Path(path) if path else lab.root / sample_app.PATH)
    say(sample_app.app_answer(lab.api, lab.settings.app))


@task
def open_(
    name: ClusterName = "",
    port: Annotated[int, "port on 127.0.0.1 to open the app on; 0 lets the system choose"] = 0,
    once: Annotated[bool, "print the app's answer and return"] = False,
) -> None:
    """Open the sample app on a loopback port until Ctrl-C; --once prints its answer and returns."""
    from threezone.extras import sample_app

    lab = open_lab(name, context="")
    say(sample_app.app_answer(lab.api, lab.settings.app))
    if not once:
        sample_app.open_app(lab, port, lambda address: say(f"http://{address}/ until Ctrl-C"))
