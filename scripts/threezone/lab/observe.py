"""The lab as it is now, as frozen data. Reads only: one engine call, then a handful of API requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from threezone.clients import kind
from threezone.clients.kind import Node
from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import condition, look
from threezone.cluster import pod_recovery
from threezone.cluster.containers import started
from threezone.cluster.drift import last_applied
from threezone.cluster.lab import Lab, api_of
from threezone.cluster.lifecycle import NODES, kubelet
from threezone.core.errors import ThreezoneError, UsageError
from threezone.core.labels import PREVIEW
from threezone.delivery import git_server as server
from threezone.delivery import handover, repository, verdict
from threezone.delivery import sync as delivery
from threezone.delivery.handover import Declared
from threezone.delivery.repository import Commit
from threezone.delivery.sync import Delivery
from threezone.flux import components as flux
from threezone.flux import installation, removed_apis
from threezone.flux.components import Flux
from threezone.zones.kubeconfig_entry import find as entry_of

ALL_DEPLOYMENTS = "/apis/apps/v1/deployments"
NO_FLUX = Flux("", ())


@dataclass(frozen=True)
class NodeState:
    """A Kubernetes node: its name, kubelet version, and whether it is Ready."""

    name: str
    version: str
    ready: bool


@dataclass(frozen=True)
class LabState:
    """Everything that `up` and `status` decide from. `unreachable` says why the API was not asked or did not answer."""

    containers: tuple[Node, ...]
    engine_error: ThreezoneError | None = None
    server: str = ""
    tls_server_name: str = ""
    unreachable: str = ""
    kubernetes: str = ""  # the API server's own version
    nodes: tuple[NodeState, ...] = ()
    not_recovered: tuple[str, ...] = ()  # what a restart within the last minute has taken away and not brought back yet
    flux: Flux = NO_FLUX
    flux_installer: str = installation.OURS
    flux_notices: tuple[str, ...] = ()  # what does not go well with this Flux
    git_serves: bool = False
    delivery: Delivery | None = None
    declared: tuple[Declared, ...] = ()  # every delivery of ours, with those of earlier settings
    waiting: tuple[str, ...] = ()
    head: Commit | None = None
    head_error: UsageError | None = None
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # of the nodes
    made_from: str = ""  # the digest of what the control planes were made from, as they have it

    @property
    def stopped(self) -> tuple[str, ...]:
        """The containers that do not run. The API server calls their nodes Ready for most of a minute after."""
        return tuple(node.name for node in self.containers if node.state != "running")

    @property
    def nodes_ready(self) -> bool:
        """Whether the API answers, every container runs and every node is Ready, and a restart left nothing missing."""
        ready = bool(self.nodes) and all(node.ready for node in self.nodes)
        return ready and not self.stopped and not self.not_recovered

    @property
    def is_healthy_and_ours(self) -> bool:
        """Whether the nodes are ready, and threezone made the cluster on the engine here."""
        return self.nodes_ready and bool(self.containers) and self.containers[0].ours


def observe(lab: Lab, *, patient: bool = True) -> LabState:
    """Read everything at once; errors are part of the answer. Changes nothing.

    With `patient` Flux's verdict on the delivery is waited for a moment, when it is near.
    """
    containers: tuple[Node, ...] = ()
    engine_error: ThreezoneError | None = None
    commit: Commit | None = None
    head_error: UsageError | None = None
    facts: dict[str, object] = {}
    with ThreadPoolExecutor(2) as pool:
        # A cluster that is not ours is asked for its nodes by its API alone.
        listing = pool.submit(kind.nodes, lab.name) if not lab.foreign else None
        head = pool.submit(repository.head, lab.root, lab.settings.gitops.path)
        entry = entry_of(lab.context)
        api = api_of(entry) if entry else None
        try:
            containers = listing.result() if listing else ()
        except ThreezoneError as error:
            engine_error = error
        if api is not None:
            try:
                facts = _ask(api, lab, containers, patient=patient) if containers or lab.foreign else {}
            finally:
                api.close()
        try:
            commit = head.result()
        except UsageError as error:
            head_error = error
    return LabState(
        containers=containers,
        engine_error=engine_error,
        server=entry.server if entry else "",
        tls_server_name=entry.tls_server_name if entry else "",
        head=commit,
        head_error=head_error,
        **({"unreachable": "no kubeconfig entry" if api is None else "no cluster"} | facts),  # type: ignore[arg-type]
    )


def _ask(api: Api, lab: Lab, containers: Sequence[Node], *, patient: bool) -> dict[str, object]:
    try:
        kubernetes = str((api.get("/version") or {}).get("gitVersion", ""))
        nodes = (api.get(NODES) or {}).get("items") or []
        deployments = (api.get(ALL_DEPLOYMENTS) or {}).get("items") or []
        delivered = verdict.observe(api, delivery.target_of(lab), deployments, patient=patient)
        declared = handover.observe(api, delivery.target_of(lab))
        not_recovered: tuple[str, ...] = ()
        if any(node.just_started for node in containers):  # a minute after a restart the API server is right again
            world = look(api, [NODES, pod_recovery.ALL_PODS])
            not_recovered = tuple(pod_recovery.not_recovered(world, started(containers)))
    except ThreezoneError as error:
        return {"unreachable": str(getattr(error, "evidence", "") or error)}
    gitops = lab.settings.gitops
    facts = read(nodes, deployments, delivered, "" if gitops.url else gitops.repository)
    return {"unreachable": "", "kubernetes": kubernetes, "not_recovered": not_recovered, "declared": declared, **facts}


def is_waiting(deployment: Json) -> bool:
    """Whether the lab waits for a Deployment: it is not available. A preview may be broken while the lab is not."""
    of_preview = PREVIEW in (deployment["metadata"].get("labels") or {})
    return not of_preview and condition(deployment, "Available").get("status") != "True"


def read(
    nodes: list[Json], deployments: list[Json], delivered: Delivery | None, repository: str = ""
) -> dict[str, object]:
    """The facts in what the API server listed; the Git server is to serve `repository`. Pure."""
    by_name = {f"{item['metadata']['namespace']}/{item['metadata']['name']}": item for item in deployments}
    waiting = tuple(name for name, item in by_name.items() if is_waiting(item))
    git = f"{server.NAMESPACE}/{server.NAME}"
    of_flux = list(filter(flux.is_part, deployments))
    installed = flux.read(of_flux)
    return {
        "nodes": tuple(
            NodeState(n["metadata"]["name"], kubelet(n), condition(n, "Ready").get("status") == "True") for n in nodes
        ),
        "flux": installed,
        "flux_installer": installation.installers(of_flux),
        "flux_notices": removed_apis.gates(of_flux, installed.version),
        "git_serves": git in by_name
        and git not in waiting
        and (not repository or repository in server.repositories(by_name[git])),
        "delivery": delivered,
        "waiting": waiting,
        "labels": {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in nodes},
        "made_from": last_applied.annotated(nodes),
    }
