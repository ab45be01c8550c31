"""ci.*: the same tasks in a pipeline: its file, and what its jobs may do in a cluster."""

from __future__ import annotations

from typing import Any

from invoke import Context

from threezone.tasks.lab import CONTEXT, NAME, YES, elsewhere, open_lab
from threezone.tasks.runtime import as_started, consent, emit, say, task

_FILE = {
    "output": "the file to write, from the project's root on",
    "stdout": "print it and write nothing",
    "image": "the image of job containers: Python 3.11 or newer, git, apt-get where it has no docker client",
    "setup": "a command that each job runs first, such as: pip install -r requirements.txt",
    "namespace": "where the cluster that is delivered to runs the app",
    "release": "the directory that the delivery writes: a Kustomize component that names the image of the commit",
    "branch": "the branch that Flux follows (default: threezone.gitops.branch in invoke.yaml)",
    "yes": "answer yes: replace a file that was edited, or that is not ours",
}


def _write(kind: str, runner: str, options: dict[str, str], *, output: str, stdout: bool, yes: bool) -> None:
    """Print the pipeline's file, or plan, ask and write it."""
    import sys

    from threezone.core import names, settings
    from threezone.extras.ci import file, pipeline

    root = settings.find_root()
    chosen = settings.load(root)
    asked = pipeline.Pipeline(
        runner=pipeline.runner(kind, runner),
        lab=names.for_jobs(chosen.cluster.name),
        invoke="./run invoke" if (root / "run").is_file() else "invoke",
        image=options["image"],
        setup=options["setup"],
        namespace=options["namespace"],
        release=options["release"],
        branch=options["branch"] or chosen.gitops.branch,
    )
    text = pipeline.text(kind, asked)
    if stdout:
        sys.stdout.write(text)
        return
    path = root / (output or pipeline.OUTPUTS[kind])
    actions = file.plan(path, file.read(path), text)
    if not actions:
        say(f"{path} is as it should be: nothing to do")
        return
    consent(actions, yes=yes)
    file.write(path, text)
    say(as_started("\n".join([f"{path} is written", *pipeline.next_steps(kind, asked)])), output)


@task(
    help={
        **_FILE,
        "runner": "socket (job containers with the engine's socket), dind (docker:dind beside each job), shell, hosted "
        "(GitLab's own: as dind)",
    }
)
def gitlab(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    runner: str = "socket",
    output: str = "",
    stdout: bool = False,
    image: str = "",
    setup: str = "",
    namespace: str = "prod",
    release: str = "local/gitops/release",
    branch: str = "",
    yes: bool = False,
) -> None:
    """Write .gitlab-ci.yml: this lab proved in a job, and the delivery to a real cluster. Safe to repeat.

    lab: up, prove, logs on failure, down. build and deliver: build, push, deliver by commit, verify by revision, logs
    on failure, clean up. A file that was edited, or that is not ours, is shown as a diff and asked about.
    """
    options = {"image": image, "setup": setup, "namespace": namespace, "release": release, "branch": branch}
    _write("gitlab", runner, options, output=output, stdout=stdout, yes=yes)


@task(
    help={
        **_FILE,
        "runner": "hosted (GitHub's own), shell (a machine of yours), socket (a container on it), dind (docker:dind "
        "beside the job's container)",
    }
)
def github(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    runner: str = "hosted",
    output: str = "",
    stdout: bool = False,
    image: str = "",
    setup: str = "",
    namespace: str = "prod",
    release: str = "local/gitops/release",
    branch: str = "",
    yes: bool = False,
) -> None:
    """Write .github/workflows/threezone.yml: this lab proved in a job, and the delivery to a real cluster.

    Its jobs are those of ci.gitlab, with the same commands. Run again, it changes nothing; a file that was edited, or
    that is not ours, is shown as a diff and asked about. Actions are pinned by commit.
    """
    options = {"image": image, "setup": setup, "namespace": namespace, "release": release, "branch": branch}
    _write("github", runner, options, output=output, stdout=stdout, yes=yes)


@task(
    help={
        "for": "where the jobs run: ci (a job's container), network (one on kind's network), container, host",
        "namespace": "where the app runs, and the account with it; made when it is not there",
        "account": "the service account",
        "kustomization": "what the job waits for, NAME or NAMESPACE/NAME (default: the lab's)",
        "apply": "let the job apply deployments, statefulsets, services and configmaps there by itself, too",
        "hours": "how long the token lasts; the server may allow less",
        "output": "the file to write (default: below the state directory); never one that git would pick up",
        "server": "offer this address instead: https://HOST:PORT",
        "proof": "prove the way there first; --no-proof writes it unproved",
        "remove": "take the account and its rights away; every token of it ends",
        "dry-run": "print what would be made, with the reason of every rule, and change nothing",
        "json": "print file, context and namespace as JSON",
        "yes": YES,
        "name": NAME,
        "context": CONTEXT,
    }
)
def kubeconfig(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    for_: str = "ci",
    namespace: str = "prod",
    account: str = "gitlab-ci-serviceaccount",
    kustomization: str = "",
    apply: bool = False,
    hours: int = 1,
    output: str = "",
    server: str = "",
    proof: bool = True,
    remove: bool = False,
    dry_run: bool = False,
    json: bool = False,
    yes: bool = False,
    name: str = "",
    context: str = "",
) -> None:
    """Give a pipeline's job a short-lived login of its own: a namespaced account, and a file with its token (0600).

    The account may look at workloads, pods, logs and events in its namespace, and at what Flux has fetched and applied.
    It may change nothing: what is delivered by commit, Flux applies. It sees no Secret. The file is proved from where
    the jobs run. Its path is the first line that is printed. Exit code 5: it would not work there; nothing is written.
    """
    from threezone.core.plan import describe
    from threezone.extras.ci import credential as room
    from threezone.extras.ci import rights
    from threezone.extras.ci.rights import Job
    from threezone.tasks.kubeconfig import given
    from threezone.zones.export.export import ExportOptions

    lab: Any = open_lab(name, context=context)
    by_hand, _ = given(server, "") or ("", "")
    found = room.rights_of(lab, Job(namespace, account, apply=apply), kustomization)
    actions = elsewhere(lab, found.removal if remove else found.steps)
    if dry_run:
        say(as_started("\n".join(filter(None, (describe(actions), found.notice)))))
        return
    consent(actions, yes=yes)
    if remove:
        rights.remove(lab.api, actions)
        say(
            f"the account {found.job.full_name} is gone"
            if actions
            else f"there is no account {found.job.full_name} of ours"
        )
        return
    room.grant(lab, found, actions)
    wanted = ExportOptions(lab.name, for_, output, hours=hours, server=by_hand, proof=proof)
    made = room.write(lab, found.job, wanted)
    if json:
        emit(made.data())
        return
    lines = [str(made.path), *(as_started(sentence) for sentence in (*made.sentences, found.notice) if sentence)]
    lines += [
        "GitLab: Settings > CI/CD > Variables: key PROD_KUBECONFIG, type File, protected, hidden; value: that file",
        f"GitHub: gh secret set PROD_KUBECONFIG <{made.path}",
    ]
    say("\n".join(lines), output)
