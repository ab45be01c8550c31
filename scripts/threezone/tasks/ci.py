"""ci.*: a pipeline's file, and the rights of its jobs in a cluster."""

import sys
from typing import Annotated

import msgspec

from threezone.core import names, settings
from threezone.core.settings import option
from threezone.tasks.options import ClusterName, ContextName, DryRun, Json, Yes, asking_on_foreign, given, open_lab
from threezone.tasks.runtime import agreed, consent, emit, say, task


class PipelineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that ci.gitlab and ci.github share."""

    output: Annotated[str, option("the file to write, relative to the project's root")] = ""
    stdout: Annotated[bool, option("print it and write nothing")] = False
    image: Annotated[str, option("the image of job containers: Python 3.11+, git, apt-get or a docker client")] = ""
    setup: Annotated[str, option("a command that each job runs first: pip install -r requirements.txt")] = ""
    namespace: Annotated[str, option("the app's namespace in the target cluster")] = "prod"
    release: Annotated[str, option("the directory that the delivery writes: a Kustomize component with the image")] = (
        "local/gitops/release"
    )
    branch: Annotated[str, option("the branch that Flux follows (default: threezone.gitops.branch)")] = ""
    yes: Annotated[bool, option("answer yes: replace a file that was edited, or that is not ours")] = False


NO_OPTIONS = PipelineOptions()


@task
def gitlab(
    runner: Annotated[
        str,
        "socket (job containers with the engine's socket), dind (docker:dind beside each job), shell, hosted "
        "(GitLab's own: as dind)",
    ] = "socket",
    options: PipelineOptions = NO_OPTIONS,
) -> None:
    """Write .gitlab-ci.yml: a job that proves this lab, and jobs that deliver to a real cluster. Safe to repeat.

    lab: up, prove, logs on failure, down. build and deliver: build, push, deliver by commit, verify by revision, logs
    on failure, clean up. A file that was edited, or that is not ours, is shown as a diff and asked about.
    """
    _write("gitlab", runner, options)


@task
def github(
    runner: Annotated[
        str,
        "hosted (GitHub's own), shell (a machine of yours), socket (a container on it), dind (docker:dind "
        "beside the job's container)",
    ] = "hosted",
    options: PipelineOptions = NO_OPTIONS,
) -> None:
    """Write .github/workflows/threezone.yml: a job that proves this lab, and jobs that deliver to a real cluster.

    Its jobs are those of ci.gitlab, with the same commands. Safe to repeat; a file that was edited, or that is not
    ours, is shown as a diff and asked about. Actions are pinned by commit.
    """
    _write("github", runner, options)


def _write(kind: str, runner: str, options: PipelineOptions) -> None:
    """Print the pipeline's file, or plan, ask and write it."""
    from threezone.extras import signed_file as file
    from threezone.extras.ci import pipeline

    root = settings.find_root()
    chosen = settings.load(root)
    place = pipeline.runner(kind, runner)
    wanted = pipeline.Pipeline(
        runner=place,
        lab=names.for_jobs(chosen.cluster.name),
        invoke=settings.launcher(root),
        image=options.image,
        setup=options.setup or pipeline.setup(kind, place, root),
        namespace=options.namespace,
        release=options.release,
        branch=options.branch or chosen.gitops.branch,
    )
    text = pipeline.text(kind, wanted)
    if options.stdout:
        sys.stdout.write(text)
        return
    path = root / (options.output or pipeline.OUTPUTS[kind])
    steps = file.plan(path, file.read(path), text)
    if not steps:
        say(f"{path} is up to date: nothing to do")
        return
    consent(steps, yes=options.yes)
    file.write(path, text)
    say("\n".join([f"{path} is written", *pipeline.next_steps(kind, wanted)]), options.output)


@task
def kubeconfig(
    for_: Annotated[str, "where the jobs run: ci (a job's container), network (on kind's network), container, host"] = (
        "ci"
    ),
    namespace: Annotated[str, "where the app and the account are; created when it does not exist"] = "prod",
    account: Annotated[str, "the service account"] = "gitlab-ci-serviceaccount",
    kustomization: Annotated[str, "what the job waits for, NAME or NAMESPACE/NAME (default: the lab's)"] = "",
    apply: Annotated[bool, "let the job also apply deployments, statefulsets, services and configmaps there"] = False,
    hours: Annotated[int, "hours until the token expires; the server may allow fewer"] = 1,
    output: Annotated[str, "the file to write (default: below the state directory); Git must ignore it"] = "",
    server: Annotated[str, "use this address instead: https://HOST:PORT"] = "",
    proof: Annotated[bool, "prove the route there first; --no-proof skips that"] = True,
    remove: Annotated[bool, "remove the account and its rights; every token of it ends"] = False,
    dry_run: DryRun = False,
    json: Json = False,
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Give a pipeline's job a short-lived login of its own: a namespaced account, and a file with its token (0600).

    The account may read workloads, pods, logs and events in its namespace, and what Flux has fetched and applied. It
    cannot read Secrets or change anything: Flux applies what a commit delivers. The file is proved from where the jobs
    run. The first line of the output is its path. Exit code 5: it would not work there; nothing is written.
    """
    from threezone.core.plan import Plan
    from threezone.extras.ci import credential, rights
    from threezone.extras.ci.rights import Job
    from threezone.zones.export.export import ExportOptions

    lab = open_lab(name, context=context)
    address, _ = given(server, "") or ("", "")
    needed = credential.rights_of(lab, Job(namespace, account, apply=apply), kustomization)
    steps = tuple(asking_on_foreign(lab, needed.removal if remove else needed.steps))
    notices = (needed.notice,) if needed.notice else ()
    if not agreed(Plan(steps, notices), yes=yes, dry_run=dry_run):
        return
    if remove:
        rights.remove(lab.api, steps)
        name = needed.job.full_name
        say(f"the account {name} is gone" if steps else f"there is no account {name} of ours")
        return
    credential.grant(lab, needed, steps)
    wanted = ExportOptions(lab.name, for_, output, hours=hours, server=address, proof=proof)
    written = credential.write(lab, needed.job, wanted)
    if json:
        emit(written.data())
        return
    lines = [
        str(written.path),
        *filter(None, (*written.sentences, *notices)),
        "GitLab: Settings > CI/CD > Variables: key PROD_KUBECONFIG, type File, protected, hidden; value: that file",
        f"GitHub: gh secret set PROD_KUBECONFIG <{written.path}",
    ]
    say("\n".join(lines), output)
