"""A CI job's credential: its rights in the cluster, and a minimal kubeconfig with a short-lived token, proved."""

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
from threezone.extras.ci.rights import Job, Object
from threezone.flux import components
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import trust
from threezone.zones.diagnostics import no_route
from threezone.zones.export import content as export_content
from threezone.zones.export import path as export_path
from threezone.zones.export import tokens
from threezone.zones.export.export import ExportOptions, export
from threezone.zones.kubeconfig_entry import find as entry_of
from threezone.zones.locate import locate
from threezone.zones.prove import prove
from threezone.zones.routes import TLS_NAME, Route


@dataclass(frozen=True)
class Rights:
    """The objects that a job needs, the live ones, and a notice of what was left out because Flux is missing."""

    job: Job
    objects: tuple[Object, ...]
    live: dict[str, Json | None]
    notice: str = ""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The objects to create or change."""
        return rights.plan(self.objects, self.live)

    @property
    def removal(self) -> tuple[Step, ...]:
        """The objects to delete."""
        return rights.plan_removal(self.objects, self.live)


@dataclass(frozen=True)
class JobKubeconfig:
    """The file for a job, and sentences about it."""

    path: Path
    context: str
    namespace: str
    sentences: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """The file for programs; never the token."""
        return {"file": str(self.path), "context": self.context, "namespace": self.namespace}


def rights_of(lab: Lab, job: Job, kustomization: str = "") -> Rights:
    """The rights that the job needs and has. `kustomization` is what it waits for, as gitops.wait takes it."""
    job = rights.checked(job)
    target, notice = sync.target_of(lab), ""
    home, _, name = (kustomization or f"{target.namespace}/{target.name}").rpartition("/")
    home = home or components.NAMESPACE
    item = lab.api.get(f"{sync.KUSTOMIZATION.format(namespace=home)}/{name}")
    if item is not None:
        source = str(item["spec"]["sourceRef"].get("namespace") or home)
        job = replace(job, kustomizations=home, sources=source, controllers=components.NAMESPACE)
    elif kustomization:
        raise UsageError(
            f"there is no Kustomization {home}/{name} for a job to wait for", fix="./run invoke flux.status"
        )
    else:
        notice = (
            f"there is no Kustomization {home}/{name}: run this again when there is one, so that the job can see it"
        )
    objects = rights.objects(job)
    return Rights(job, objects, rights.observe(lab.api, objects), notice)


def grant(lab: Lab, wanted: Rights, steps: Sequence[Step]) -> None:
    """Carry the plan out."""
    if steps:
        with step(f"give the account {wanted.job.full_name} its rights") as running:
            rights.apply(lab.api, wanted.objects, steps)
            running.result = f"{len(steps)} objects"


def write(lab: Lab, job: Job, wanted: ExportOptions) -> JobKubeconfig:
    """Write the job's kubeconfig. Raises RouteError where no route is proved; then nothing is written."""
    tokens.checked_hours(wanted.hours)
    if lab.foreign:
        return _write_external(lab, job, wanted)
    exported = export(replace(wanted, account=job.full_name))
    return JobKubeconfig(exported.path, exported.context, job.namespace, exported.sentences)


def _write_external(lab: Lab, job: Job, wanted: ExportOptions) -> JobKubeconfig:
    """Write the file for a cluster that is not ours: with the address of the user's entry, or `wanted.server`."""
    context = lab.context
    entry = entry_of(context)
    if entry is None:
        raise ClusterError(f"there is no kubeconfig entry {context}", fix="kubectl config get-contexts")
    default = export_path.directory(lab.key) / "job.yaml"
    path = export_path.guard(Path(wanted.output) if wanted.output else default, context)
    token = tokens.issue(lab.api, job.namespace, job.account, wanted.hours)
    cluster, user = export_content.identity(replace(entry.entry, user={"token": token.value}))
    routes = [Route("your entry", entry.server, entry.tls_server_name)]
    if wanted.server:
        routes = [Route("given by hand", wanted.server, name) for name in ("", TLS_NAME)]
    files = [(route, export_content.file(context, cluster, user, route, job.namespace)) for route in routes]
    (route, content), result = files[0], "NOT PROVED (because of --no-proof)"
    if wanted.proof:
        own = document.entry(content, context)
        verdict = prove(routes, trust(own)) if own else None
        if verdict is None or verdict.chosen is None:
            raise no_route(context, locate(), verdict) if verdict else ClusterError(f"no entry {context} was made")
        route, content = next(file for file in files if file[0] == verdict.chosen.route)
        result = f"proved from here in {verdict.chosen.seconds:.2f} s"
    export_path.write(path, content)
    sentences = (f"{route.server} {result}", f"login: {tokens.sentence(token)}")
    return JobKubeconfig(path, context, job.namespace, sentences)
