"""From a changed line to the running pod: build, bring the image to the nodes, commit its tag, push, wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.clients.git.commit import command, commit_file
from threezone.clients.kubernetes.api import Json
from threezone.cluster import node_images
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.events import note, step
from threezone.core.files import read_text, write_atomic
from threezone.core.plan import Step, StepKind
from threezone.delivery import push, repository, sync, tree, verdict
from threezone.delivery.check import check as checks
from threezone.delivery.check import images
from threezone.delivery.release import edit, image, places
from threezone.delivery.release.image import Source
from threezone.delivery.release.places import Place
from threezone.images.engine_images import full

Agree = Callable[[Sequence[Step]], None]  # raises Declined


@dataclass(frozen=True)
class Wanted:
    """What is released: the source of the image, and the entry in the kustomization `path` of the repository `top`.

    `registry` is the address of the local registry, "" where the image is loaded into the nodes.
    """

    source: Source
    place: Place
    top: Path
    path: str
    registry: str = ""
    message: str = ""


@dataclass(frozen=True)
class Released:
    """What became of it: the image that runs, and whether something was committed or delivered for it."""

    image: str
    file: str
    commit: str
    revision: str
    committed: bool
    delivered: bool
    seconds: float

    def data(self) -> dict[str, object]:
        """For programs; the keys are an interface."""
        return {**vars(self), "seconds": round(self.seconds, 3)}

    @property
    def line(self) -> str:
        """For a person."""
        if not self.committed and not self.delivered:
            return f"nothing to do: {self.image} runs, as {self.file} says"
        return f"{self.image} runs: {self.revision} applied, {self.seconds:.1f} s"


def observe(lab: Lab, source: Source, name: str, kustomization: str, message: str) -> Wanted:
    """Find what a release changes, before anything is built.

    Raises UsageError where the image has not exactly one place, or where its file has changes of the user.
    """
    checkout = Checkout(lab.root)
    top = checkout.layout().top
    chosen = Path(kustomization).absolute() if kustomization else None
    if chosen and chosen.is_dir():
        chosen /= places.FILES[0]
    place = places.choose(top, lab.root / lab.settings.gitops.path, name, chosen)
    registry = image.registry_of(lab)
    if not registry:
        node_images.running_nodes(lab)
    wanted = Wanted(source, place, top, str(place.file.relative_to(top.resolve())), registry, message)
    _committed(wanted)
    return wanted


def _committed(wanted: Wanted) -> str:
    """The kustomization as it is committed. Raises UsageError when the user has changed more in it than the image."""
    checkout, path = Checkout(wanted.top), wanted.path
    committed = checkout.committed(path)
    if committed is None:
        raise UsageError(f"{path} is not committed yet", fix=f"git add {path}, git commit: Flux delivers commits")
    if not checkout.changed(path):
        return read_text(wanted.place.file)
    name, text = wanted.place.image, read_text(wanted.place.file)
    ours = edit.entry(text, name) or {}
    # A run that was killed before its commit has left exactly this change.
    left = edit.with_image(committed, name, str(ours.get("newName") or ""), str(ours.get("newTag") or ""))
    if str(ours.get("newTag")).startswith(image.TAG) and left.splitlines() == text.splitlines():
        return committed
    raise UsageError(
        f"{path} has changes of yours that are not committed, and a release commits this file",
        evidence=f"git diff HEAD -- {path}",
        fix=f"commit them (git commit -- {path}), or put them aside (git stash push -- {path})",
    )


def plan(wanted: Wanted, reference: str, *, asks: bool) -> tuple[Step, ...]:
    """The steps that change something, for an image that was built. Pure."""
    path = wanted.path
    bring = Step(StepKind.LOAD_IMAGE, f"load {reference} into the nodes", f"./run invoke image.load {reference}")
    if wanted.registry:
        bring = Step(StepKind.PUSH_IMAGE, f"push {reference}", f"docker push {reference}")
    commit = command(path, message(wanted, reference))
    return (
        Step(StepKind.WRITE_FILE, f"set the image {wanted.place.image} to {reference} in {path}"),
        Step(StepKind.COMMIT, f"commit {path}, and nothing else", commit, asks=asks),
        bring,
        Step(StepKind.DELIVER, "push the commit, and wait until it runs", "./run invoke gitops.push"),
    )


def steps(wanted: Wanted, *, asks: bool) -> tuple[Step, ...]:
    """The plan before the image is built: its tag is not known yet. Pure."""
    build = Step(StepKind.BUILD_IMAGE, f"build {wanted.place.image}", wanted.source.command())
    return (build, *plan(wanted, _reference(wanted, f"{image.TAG}…", _entry_name(wanted)), asks=asks))


def message(wanted: Wanted, reference: str) -> str:
    """The message of the commit."""
    return wanted.message or f"Release {reference}"


def _entry_name(wanted: Wanted) -> str:
    return str((edit.entry(read_text(wanted.place.file), wanted.place.image) or {}).get("newName") or "")


def _reference(wanted: Wanted, tag: str, old: str, own: str = "localhost") -> str:
    name = image.new_name(wanted.place.image, old, wanted.registry, own) or old or wanted.place.image
    return f"{name}:{tag}"


def release(
    lab: Lab, wanted: Wanted, agree: Agree, *, asks: bool = False, check: bool = True, force: bool = False
) -> Released:
    """Build and deliver. `agree` gets what will change, and raises Declined on no.

    Raises ToolError for a failed build: then nothing else has happened. Repeating it continues where it ended.
    """
    began = time.monotonic()
    built = image.build(wanted.source, wanted.place.image)
    before = _committed(wanted)
    name = wanted.place.image
    old = str((edit.entry(before, name) or {}).get("newName") or "")
    own = f"localhost:{lab.settings.registry.port}"
    after = edit.with_image(before, name, image.new_name(name, old, wanted.registry, own), built.tag)
    reference = _reference(wanted, built.tag, old, own)
    if after == before != read_text(wanted.place.file):  # left by a killed run, and built differently now
        write_atomic(wanted.place.file, before, None)
    commit = repository.head(lab.root, lab.settings.gitops.path)
    if after == before and _runs(lab, commit.sha):
        revision = f"{lab.settings.gitops.branch}@sha1:{commit.sha}"
        seconds = time.monotonic() - began
        return Released(reference, wanted.path, commit.sha, revision, committed=False, delivered=False, seconds=seconds)
    agree([each for each in plan(wanted, reference, asks=asks) if after != before or each.kind is not StepKind.COMMIT])
    if after != before:
        _commit(wanted, before, after, message(wanted, reference))
        commit = repository.head(lab.root, lab.settings.gitops.path)
    _ = lab.tools  # found once, for both threads
    with ThreadPoolExecutor(1) as pool:  # the commit is checked while the image goes to the nodes
        brought = pool.submit(copy_context().run, image.bring, lab, built, reference, wanted.registry)
        if check:
            checks.require(lab, coming={full(reference)})
        brought.result()
    revision = push.deliver(lab, force=force)
    require_running(name, reference, _applied(lab))
    return Released(
        reference,
        wanted.path,
        commit.sha,
        revision,
        committed=after != before,
        delivered=True,
        seconds=time.monotonic() - began,
    )


def _applied(lab: Lab) -> list[Json]:
    """The Deployments, Jobs and the like that the delivery has applied, as they are now."""
    root = lab.api.get(sync.target_of(lab).paths[1]) or {"metadata": {}}
    world, _ = tree.gather(lab.api, root, {})
    return [
        {**item, "apiVersion": f"{entry.group}/{entry.version}".lstrip("/"), "kind": entry.kind}
        for entry, item in tree.members(root, world)
        if item
    ]


def require_running(name: str, reference: str, applied: Iterable[Json]) -> None:
    """Raise DeliveryError when what is applied runs the image `name`, but not as `reference`. Pure.

    An image can be set after the kustomization: by spec.images or spec.patches of a Kustomization of Flux.
    """
    names = {places.name_of(full(each)) for each in (name, reference)}
    others = []
    for use in (use for item in applied for use in images.of_object(item)):
        if use.image == full(reference):
            return
        if places.name_of(use.image) in names:
            others.append(f"{use.what} runs {use.image}")
    if others:
        raise DeliveryError(
            f"the commit is applied, and no workload runs {reference}",
            evidence="\n".join(others),
            fix="look for what sets the image after the kustomization: spec.images or spec.patches of a Kustomization "
            "of Flux (kubectl get kustomizations --all-namespaces --output yaml)",
        )


def _runs(lab: Lab, sha: str) -> bool:
    """Whether exactly this commit is delivered and everything in it is ready."""
    delivery = verdict.observe(lab.api, sync.target_of(lab))
    return delivery is not None and delivery.ready and delivery.applied.endswith(f":{sha}")


def _commit(wanted: Wanted, before: str, after: str, text: str) -> None:
    """Write the file and commit it alone. Without a commit, the file is as it was."""
    file = wanted.place.file
    changed = [path for path in Checkout(wanted.source.directory).changed(".") if path != wanted.path]
    if changed:
        note(f"built from {len(changed)} files that are not committed: {', '.join(changed[:3])}")
    with step(f"commit {wanted.path}"):
        write_atomic(file, after, None)
        try:
            answer = commit_file(wanted.top, wanted.path, text)
        except BaseException:
            write_atomic(file, before, None)
            raise
        if answer.ok:
            return
        if read_text(file) == after:  # a hook may have changed it
            write_atomic(file, before, None)
    raise DeliveryError(
        f"git did not commit {wanted.path}; nothing is delivered",
        evidence=answer.words,
        fix=f"correct what git, your hook or your signature says, and run this again (tried in {wanted.top})",
    )
