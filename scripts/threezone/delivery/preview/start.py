"""Start the preview of a branch, or bring it to the branch's newest commit. Repeating it continues where it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.clients.kubernetes.api import Json
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, DeliveryError, UsageError
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_server, push, repository, sync, wait
from threezone.delivery.check.check import Place, connect
from threezone.delivery.check.model import Rendering
from threezone.delivery.check.render import render
from threezone.delivery.check.source import Tree, tree
from threezone.delivery.preview import cluster, layout, model
from threezone.delivery.preview.layout import Layout
from threezone.delivery.preview.model import Preview
from threezone.delivery.repository import Commit, Rejected
from threezone.delivery.sync import Target
from threezone.flux import components


@dataclass(frozen=True)
class Wanted:
    """What is started: the preview, its commit, and where its objects go."""

    preview: Preview
    commit: Commit
    target: Target
    layout: Layout
    kustomization: Json


@dataclass(frozen=True)
class Started:
    """The preview that runs, and the revision that Flux has applied."""

    preview: Preview
    revision: str
    seconds: float

    def data(self) -> dict[str, object]:
        """For programs; the keys are an interface."""
        return {**self.preview.data(datetime.now(UTC)), "revision": self.revision, "seconds": round(self.seconds, 3)}

    @property
    def line(self) -> str:
        """For a person."""
        names = ", ".join(self.preview.namespaces.values())
        return f"{self.preview.branch} runs in {names}: {self.revision} applied, {self.seconds:.1f} s"


def observe(lab: Lab, branch: str, path: str = "", ttl: str = "") -> Wanted:
    """Find what a preview of the branch's newest commit needs. Changes nothing.

    Without `path` or `ttl`, those of the preview that runs are kept. Raises UsageError for what would touch main.
    """
    _require_own_branch(lab, branch)
    now = datetime.now(UTC).replace(microsecond=0)
    end = now + model.duration(ttl) if ttl else None
    old = cluster.find(lab, branch) or Preview(branch, created=now)
    path = _relative(lab.root, path) if path else old.path or lab.settings.gitops.path
    commit = _commit(lab.root, branch, path)
    kept = None if old.is_expired(now) else old.expires
    preview = replace(old, path=path, commit=commit.sha, expires=end or kept)
    place = connect(lab)
    if place.cluster is None:
        raise ClusterError(f"the cluster {lab.display_name} does not answer", fix="./run invoke status")
    target = cluster.target_of(lab, branch)
    main = (lab.api.get(sync.target_of(lab).paths[1]) or {}).get("spec") or {}
    with tree(lab.root, path, commit.sha) as files:
        chosen, wanted = arrange(place, files, preview, main, _scope(place))
    preview = replace(preview, namespaces=chosen.namespaces)
    cluster.require_free(lab.api, preview, target, chosen)
    return Wanted(preview, commit, target, chosen, wanted)


def arrange(
    place: Place, files: Tree, preview: Preview, main: Json, is_namespaced: layout.IsNamespaced
) -> tuple[Layout, Json]:
    """The preview's layout and its Kustomization, by what Flux would apply from these files. Raises UsageError."""
    target = cluster.target_of(place.lab, preview.branch)
    plain = layout.kustomization(preview, target, files.path, main)
    # As main would have them: their namespaces decide about the preview's.
    chosen = layout.decide(preview, _objects(_rendered(place, files, plain)), is_namespaced)
    wanted = layout.kustomization(preview, target, files.path, main, chosen)
    layout.require_inside(chosen, _objects(_rendered(place, files, wanted)))
    return chosen, wanted


def _require_own_branch(lab: Lab, branch: str) -> None:
    gitops = lab.settings.gitops
    if gitops.url:
        raise UsageError(
            "previews come from the lab's own Git server, and the settings name another source",
            evidence=f"threezone.gitops.url: {gitops.url}",
            fix="leave threezone.gitops.url empty",
        )
    if branch == gitops.branch:
        raise UsageError(
            f"{branch} is the branch that main's delivery follows: it needs no preview",
            fix="git switch --create NAME, or name another branch",
        )


def _relative(root: Path, path: str) -> str:
    """A path as it is from the project's root. Raises UsageError for one outside of it."""
    try:
        return str((root / path).resolve().relative_to(root.resolve()))
    except ValueError:
        raise UsageError(f"--path {path} is outside of {root}", fix="name a directory of this project") from None


def _commit(root: Path, branch: str, path: str) -> Commit:
    name = f"refs/heads/{branch}"
    answer = Checkout(root).revision(name)
    if not answer.ok:
        raise UsageError(
            f"there is no branch {branch} in {root}", evidence=answer.words, fix="git branch shows those that there are"
        )
    return repository.head(root, path, name)


def _rendered(place: Place, files: Tree, kustomization: Json) -> Rendering:
    rendering = render(place.lab.tools["flux"], files, kustomization, lookup=place.live)
    if errors := [each for each in rendering.findings if each.severity == "error"]:
        raise DeliveryError(
            f"Flux could not apply {files.label}",
            evidence="\n".join(f"{each.object}: {each.message}" for each in errors),
            fix=errors[0].fix,
        )
    return rendering


def _objects(rendering: Rendering) -> list[Json]:
    return [item for _, item in rendering.objects]


def _scope(place: Place) -> layout.IsNamespaced:
    def is_namespaced(item: Json) -> bool | None:
        kinds = place.cluster.kinds(str(item.get("apiVersion"))) if place.cluster else {}
        resource = kinds.get(str(item.get("kind")))
        return resource.namespaced if resource else None

    return is_namespaced


def plan(lab: Lab, wanted: Wanted) -> tuple[Step, ...]:
    """The steps of a start. Pure."""
    preview = wanted.preview
    names = ", ".join(wanted.layout.namespaces.values())
    end = f" until {preview.expires.isoformat()}" if preview.expires else ""
    return (
        Step(StepKind.DELIVER, f"push {preview.commit[:7]} to the branch {preview.branch} of the lab's Git server"),
        Step(StepKind.START_PREVIEW, f"deliver {preview.path} of it to {names}{end}", asks=bool(lab.foreign)),
    )


def start(lab: Lab, wanted: Wanted, *, force: bool = False, newest: Callable[[], str] = lambda: "") -> Started:
    """Push the commit, have Flux deliver it to the preview's namespaces, and wait for all that it brings.

    The wait ends with Overtaken when `newest` names a commit that is wanted instead.
    """
    began = time.monotonic()
    preview, target = wanted.preview, wanted.target
    components.require(components.observe(lab.api))
    # The record comes first and goes last: whatever is killed in between is found and can be stopped.
    url = git_server.url(lab.settings.gitops.repository)
    lab.api.apply(target.paths[0], model.source(preview, target, url))
    try:
        push.push(lab, wanted.commit, branch=preview.branch, force=force)
    except Rejected as rejected:
        raise Rejected(
            rejected.message,
            evidence=rejected.evidence,
            fix=f"./run invoke preview.start --branch {preview.branch} --force replaces the lab's commits by yours",
        ) from None
    cluster.make(lab.api, preview, target, wanted.layout)
    lab.api.apply(target.paths[1], wanted.kustomization)
    revision = f"{preview.branch}@sha1:{preview.commit}"
    stamp = sync.request(lab.api, target)
    history = repository.history(lab.root, revision, newest)
    applied = wait.wait_delivered(lab.api, target, revision, stamp, lab.settings.gitops.timeout, history=history)
    return Started(replace(preview, applied=applied, ready=True, message=""), applied, time.monotonic() - began)
