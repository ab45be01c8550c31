"""The files to write, and what the user should know: a plan from what the repository has and what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from threezone.core import files
from threezone.core.plan import Plan, Step, StepKind
from threezone.core.settings import Cluster
from threezone.extras import signed_file
from threezone.extras.ci import pipeline
from threezone.extras.init import contents
from threezone.extras.init.observe import Repository, text_of

_LONG = 120  # lines of a difference that are shown
_HINTS = {
    "tasks.py": "`threezone` has all tasks anyway; for invoke: from threezone.tasks import collection",
    "invoke.yaml": "settings go into a section `threezone`",
    contents.PRE_COMMIT: "a local hook at the stage pre-push: threezone gitops.check --revision $PRE_COMMIT_TO_REF",
    "noxfile.py": "a session for the lab: threezone up --yes, threezone gitops.prove, threezone down --yes",
}


def existing(repository: Repository, texts: Mapping[str, str]) -> dict[str, str | None]:
    """The present texts of the files. Raises UsageError for a path that is not a readable file of the repository."""
    return {path: text_of(repository.root, path) for path in texts}


def plan(
    repository: Repository, texts: Mapping[str, str], present: Mapping[str, str | None], *, renew: bool = False
) -> Plan:
    """Create what is missing and renew what is ours. Others' files stay, and edited ones without `renew`. Pure."""
    steps, notices = [], []
    for path, text in texts.items():
        old = present[path]
        if old == text:
            continue
        if old is None:
            steps.append(_write("write", path, "", text))
        elif signed_file.is_unedited(old):
            steps.append(_write("renew", path, old, text))
        elif signed_file.is_ours(old) and signed_file.is_newer(text, old):
            if renew:
                steps.append(_write("replace your edited", path, old, text))
            else:
                notices.append(f"{path} was edited and stays; to compare with the newer one: threezone init --renew")
        elif not signed_file.is_ours(old) and not path.startswith("local/gitops/"):
            if path == "invoke.yaml" and repository.has_section:
                continue
            hint = f" ({_HINTS[path]})" if path in _HINTS else ""
            notices.append(f"{path} is not threezone's and stays as it is{hint}")
    return Plan(tuple(steps), (*notices, *_found(repository, texts)))


def _write(verb: str, path: str, old: str, text: str) -> Step:
    change = signed_file.difference(path, old, text).splitlines()
    if path == contents.SCHEMA or len(change) > _LONG:
        change = [f"({len(change)} lines)"]
    return Step(StepKind.WRITE_FILE, "\n".join([f"{verb} {path}", *change]), asks=True, target=path)


def _found(repository: Repository, texts: Mapping[str, str]) -> list[str]:
    """What was found and needs a decision of the user."""
    notices = []
    chosen = contents.config(repository)
    if chosen != Cluster().config:
        notices.append(f"the cluster is declared by {chosen}")
    others = [name for name in repository.kind_files if name != chosen]
    if others:
        notices.append(f"other kind files: {', '.join(others)} (threezone.cluster.config in invoke.yaml chooses)")
    local = repository.settings.gitops.path
    up = "../" * len(Path(local).parts)
    if repository.flux_clusters:
        notices.append(
            f"what Flux applies elsewhere stays there: {', '.join(repository.flux_clusters)}. The lab applies {local}; "
            f"add parts of it there, or choose another directory with threezone.gitops.path"
        )
    elif repository.kustomizations:
        notices.append(f"to deliver {repository.kustomizations[0]}: add {up}{repository.kustomizations[0]} to {local}")
    if repository.charts:
        notices.append(
            f"to deliver the chart {repository.charts[0]}: a HelmRelease in {local} whose source is the lab's"
        )
    if repository.dockerfiles:
        notices.append(
            "an image of yours without a registry: docker build --tag app:lab . && threezone image.load app:lab"
        )
    if repository.forge and not repository.has_pipeline and pipeline.OUTPUTS[repository.forge] not in texts:
        notices.append(f"for a pipeline: threezone init --ci {repository.forge}")
    if repository.devcontainers and not any(path.startswith(contents.DEVCONTAINER) for path in texts):
        notices.append("for a devcontainer that reaches the lab: threezone init --devcontainer")
    return notices


def apply(repository: Repository, plan: Plan, texts: Mapping[str, str], present: Mapping[str, str | None]) -> list[str]:
    """Write the files; one that has changed since it was shown is left alone. Returns the paths."""
    written = []
    for step in plan.steps:
        if text_of(repository.root, step.target) == present[step.target]:
            files.write_atomic(repository.root / step.target, texts[step.target], None)
            written.append(step.target)
    return written
