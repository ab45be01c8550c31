"""A job's credential: its rights in the cluster, and a minimal kubeconfig with a short-lived token, proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from threezone.clients.kubernetes.api import Json
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, UsageError
from threezone.core.events import step
from threezone.core.plan import Step
from threezone.delivery import sync
from threezone.extras.ci import rights
from threezone.extras.ci.rights import Job, Piece
from threezone.flux import components
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import trust
from threezone.kubeconfig.document import Document
from threezone.zones.diagnostics import no_route
from threezone.zones.export import path as place
from threezone.zones.export import tokens
from threezone.zones.export.offer import identity
from threezone.zones.export.run import Wanted, export
from threezone.zones.kubeconfig_entry import find as entry_of
from threezone.zones.locate import locate
from threezone.zones.prove import prove
from threezone.zones.routes import TLS_NAME, Route


@dataclass(frozen=True)
class Rights:
    """What a job needs, what is there of it, and what was left out for want of Flux."""

    job: Job
    pieces: tuple[Piece, ...]
    seen: dict[str, Json | None]
    notice: str = ""

    @property
    def actions(self) -> tuple[Step, ...]:
        """What has to be made or changed."""
        return rights.plan(self.pieces, self.seen)

    @property
    def removal(self) -> tuple[Step, ...]:
        """What is taken away again."""
        return rights.plan_removal(self.pieces, self.seen)


@dataclass(frozen=True)
class Handed:
    """The file for a job, and what to say about it."""

    path: Path
    context: str
    namespace: str
    sentences: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """What programs are told; never the token."""
        return {"file": str(self.path), "context": self.context, "namespace": self.namespace}


def rights_of(lab: Lab, job: Job, kustomization: str = "") -> Rights:
    """Look what the job needs and has. `kustomization` is what it waits for, as gitops.wait has it."""
    job = rights.checked(job)
    api, ours, notice = lab.api, sync.target_of(lab), ""
    home, _, name = (kustomization or f"{ours.namespace}/{ours.name}").rpartition("/")
    home = home or components.NAMESPACE
    made = api.get(f"{sync.KUSTOMIZATION.format(namespace=home)}/{name}")
    if made is not None:
        source = str(made["spec"]["sourceRef"].get("namespace") or home)
        job = replace(job, kustomizations=home, sources=source, controllers=components.NAMESPACE)
    elif kustomization:
        raise UsageError(
            f"there is no Kustomization {home}/{name} for a job to wait for", fix="./run invoke flux.status"
        )
    else:
        notice = f"there is no Kustomization {home}/{name}: the job may look at nothing of Flux until this is run again"
    pieces = rights.pieces(job)
    return Rights(job, pieces, rights.observe(api, pieces), notice)


def grant(lab: Lab, found: Rights, actions: Sequence[Step]) -> None:
    """Carry the plan out."""
    if actions:
        with step(f"give the account {found.job.named} its rights") as running:
            rights.apply(lab.api, found.pieces, actions)
            running.result = f"{len(actions)} objects"


def withdraw(lab: Lab, actions: Sequence[Step]) -> None:
    """Take the rights away again; every token of the account ends with it."""
    rights.remove(lab.api, actions)


def hand_out(lab: Lab, job: Job, wanted: Wanted) -> Handed:
    """Write the job's kubeconfig. Raises RouteError where no way is proved; then nothing is written."""
    tokens.lasting(wanted.hours)
    if lab.foreign:
        return _elsewhere(lab, job, wanted)
    written = export(replace(wanted, account=job.named))
    return Handed(written.path, written.context, job.namespace, written.sentences)


def _elsewhere(lab: Lab, job: Job, wanted: Wanted) -> Handed:
    """For a cluster that is not ours: by the address of the user's own entry, or the one that is named."""
    context = lab.context
    entry = entry_of(context)
    if entry is None:
        raise ClusterError(f"there is no kubeconfig entry {context}", fix="kubectl config get-contexts")
    default = place.directory(lab.key) / "job.yaml"
    path = place.guard(Path(wanted.output) if wanted.output else default, context)
    token = tokens.issue(lab.api, job.namespace, job.account, wanted.hours)
    cluster, user = identity(replace(entry.entry, user={"token": token.value}))
    routes = [Route("your entry", entry.server, entry.tls_server_name)]
    if wanted.server:
        routes = [Route("given by hand", wanted.server, name) for name in ("", TLS_NAME)]
    files = [(route, _file(context, cluster, user, route, job.namespace)) for route in routes]
    chosen, words = files[0], "NOT PROVED (as asked with --no-proof)"
    if wanted.proof:
        own = document.entry(chosen[1], context)
        verdict = prove(routes, trust(own)) if own else None
        if verdict is None or verdict.chosen is None:
            raise no_route(context, locate(), verdict) if verdict else ClusterError(f"no entry {context} was made")
        chosen = next(each for each in files if each[0] == verdict.chosen.route)
        words = f"proved from here in {verdict.chosen.seconds:.2f} s"
    place.write(path, chosen[1])
    return Handed(path, context, job.namespace, (f"{chosen[0].server} {words}", f"login: {tokens.sentence(token)}"))


def _file(context: str, cluster: dict[str, Any], user: dict[str, Any], route: Route, namespace: str) -> Document:
    named = {"tls-server-name": route.tls_server_name} if route.tls_server_name else {}
    made = document.put(Document(), "clusters", context, {**cluster, "server": route.server, **named})
    made = document.put(made, "users", context, user)
    made = document.put(made, "contexts", context, {"cluster": context, "user": context, "namespace": namespace})
    return document.with_current_context(made, context)
