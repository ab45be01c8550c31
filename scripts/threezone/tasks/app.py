"""app.*: the sample workload, and the release of one's own."""

import sys
from pathlib import Path
from typing import Annotated

from threezone.tasks.gitops import ask_to_replace
from threezone.tasks.options import Channel, ClusterName, DryRun, Json, Yes, open_lab
from threezone.tasks.runtime import agreed, ask, consent, present, say, task


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


@task
def release(
    build_arg: Annotated[list[str], "the name of an environment variable that the build gets as ARG; repeatable"],
    build: Annotated[str, "the directory to build (default: the current one)"] = "",
    file: Annotated[str, "the Dockerfile (default: Dockerfile in that directory)"] = "",
    image: Annotated[str, "the image's name in the manifests, without a tag (default: the only one there)"] = "",
    kustomization: Annotated[str, "the kustomization.yaml to change, where several have the image"] = "",
    commit: Annotated[bool, "commit without asking"] = False,
    message: Annotated[str, "the commit's message (default: Release IMAGE)"] = "",
    watch: Annotated[bool, "release again after each change in the directory, until Ctrl-C"] = False,
    no_check: Annotated[bool, "push the commit without gitops.check"] = False,
    force: Annotated[bool, "replace the commits on the lab's branch by yours"] = False,
    dry_run: DryRun = False,
    json: Json = False,
    yes: Yes = False,
    name: ClusterName = "",
) -> None:
    """Build your image and deliver it by commit: from a changed line to the running pod.

    The image gets a tag by its content: when nothing has changed there is nothing to do. It is pushed to the local
    registry if that runs, else loaded into the nodes. The tag is set under `images:` in the kustomization that has the
    image. That file alone is committed, with your identity, hooks and signature; your other changes stay as they are.
    Then it is as gitops.push. Without --commit it asks before the commit. A failed build ends with 7, and commits
    nothing.
    """
    from threezone.delivery.release import image as builder
    from threezone.delivery.release import release as releases

    lab = open_lab(name, context="")
    source = builder.source(Path(build).absolute(), file, tuple(build_arg))
    wanted = releases.observe(lab, source, image, kustomization, message)
    asks = not (commit or yes)
    if dry_run:
        agreed(releases.steps(wanted, asks=asks), yes=True, dry_run=True)
        return
    ask(lab, "the content of the commit, delivered by Flux", yes=yes)
    ask_to_replace(lab, yes=yes)

    def once() -> releases.Released:
        return releases.release(
            lab, wanted, lambda steps: consent(steps, yes=not asks), asks=asks, check=not no_check, force=force
        )

    if not watch:
        released = once()
        present(released.data(), released.line, as_json=json)
        return
    from threezone.delivery.release import watch as changes

    if asks:
        consent(releases.steps(wanted, asks=True), yes=False)
        asks = False
    _say_now(f"releasing each change in {source.directory}; Ctrl-C ends")
    changes.watch(once, source.directory, wanted.place.file, _say_now)


def _say_now(text: str) -> None:
    """Print a line at once, for whoever reads the lines as they come."""
    say(text)
    sys.stdout.flush()
