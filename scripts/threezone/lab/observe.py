"""The lab as it is now, as frozen data. Reads only: one engine call, then a handful of API requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from threezone.delivery import git_server as server
from threezone.delivery import repository, verdict
from threezone.delivery import sync as delivery
from threezone.delivery.repository import Commit
from threezone.delivery.sync import Delivery
from threezone.flux import components as flux
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
class Seen:
    """Everything that `up` and `status` decide from. `unreachable` says why the API was not asked or did not answer."""

    containers: tuple[Node, ...]
    engine_trouble: ThreezoneError | None = None
    server: str = ""
    tls_server_name: str = ""
    unreachable: str = ""
    kubernetes: str = ""  # the API server's own version
    nodes: tuple[NodeState, ...] = ()
    not_back: tuple[str, ...] = ()  # what a restart within the last minute has taken away and not brought back yet
    flux: Flux = NO_FLUX
    git_serves: bool = False
    delivery: Delivery | None = None
    waiting: tuple[str, ...] = ()
    head: Commit | None = None
    head_trouble: UsageError | None = None
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
        return ready and not self.stopped and not self.not_back


def observe(lab: Lab, *, patient: bool = True) -> Seen:
    """Look at everything at once. Never changes anything; trouble is part of the answer.

    With `patient` Flux's verdict on the delivery is waited for a moment, when it is at hand.
    """
    with ThreadPoolExecutor(4) as pool:
        containers = pool.submit(_nodes, lab)
        head = pool.submit(repository.head, lab.root, lab.settings.gitops.path)
        api = _connect(lab)
        try:
            seen = _containers(containers.result)
            facts = _ask(api, lab, seen[0], patient=patient) if api is not None and (seen[0] or lab.foreign) else {}
        finally:
            if api is not None:
                api.close()
        commit, trouble = _head(head.result)
    entry = current(lab)
    return Seen(
        containers=seen[0],
        engine_trouble=seen[1],
        server=entry[0] if entry else "",
        tls_server_name=entry[1] if entry else "",
        head=commit,
        head_trouble=trouble,
        **({"unreachable": "no kubeconfig entry" if api is None else "no cluster"} | facts),  # type: ignore[arg-type]
    )


def current(lab: Lab) -> tuple[str, str] | None:
    """The user's kubeconfig entry for the lab: its server and TLS server name."""
    entry = entry_of(lab.context)
    return (entry.server, entry.tls_server_name) if entry else None


def _nodes(lab: Lab) -> tuple[Node, ...]:
    """The engine's containers; a cluster that is not ours is asked for its nodes by its API alone."""
    return () if lab.foreign else kind.nodes(lab.name)


def _connect(lab: Lab) -> Api | None:
    entry = entry_of(lab.context)
    return api_of(entry) if entry else None


def _containers(result: Callable[[], tuple[Node, ...]]) -> tuple[tuple[Node, ...], ThreezoneError | None]:
    try:
        return result(), None
    except ThreezoneError as error:
        return (), error


def _head(result: Callable[[], Commit]) -> tuple[Commit | None, UsageError | None]:
    try:
        return result(), None
    except UsageError as error:
        return None, error


def _ask(api: Api, lab: Lab, containers: Sequence[Node], *, patient: bool) -> dict[str, object]:
    try:
        kubernetes = str((api.get("/version") or {}).get("gitVersion", ""))
        nodes = (api.get(NODES) or {}).get("items") or []
        deployments = (api.get(ALL_DEPLOYMENTS) or {}).get("items") or []
        delivered = verdict.observe(api, delivery.target_of(lab), deployments, patient=patient)
        not_back = _not_back(api, containers)
    except ThreezoneError as error:
        return {"unreachable": str(getattr(error, "evidence", "") or error)}
    return {
        "unreachable": "",
        "kubernetes": kubernetes,
        "not_back": not_back,
        **read(nodes, deployments, delivered),
    }


def _not_back(api: Api, containers: Sequence[Node]) -> tuple[str, ...]:
    """What is not back after a restart. Later than a minute after it, the API server's own words are true again."""
    if not any(node.just_started for node in containers):
        return ()
    return tuple(pod_recovery.not_back(look(api, [NODES, pod_recovery.ALL_PODS]), started(containers)))


def read(nodes: list[Json], deployments: list[Json], delivered: Delivery | None) -> dict[str, object]:
    """The facts in what the API server listed. Pure."""
    waiting = tuple(
        f"{d['metadata']['namespace']}/{d['metadata']['name']}"
        for d in deployments
        if condition(d, "Available").get("status") != "True"
    )
    git = f"{server.NAMESPACE}/{server.NAME}"
    names = [f"{d['metadata']['namespace']}/{d['metadata']['name']}" for d in deployments]
    return {
        "nodes": tuple(
            NodeState(n["metadata"]["name"], kubelet(n), condition(n, "Ready").get("status") == "True") for n in nodes
        ),
        "flux": flux.read(list(filter(flux.is_part, deployments))),
        "git_serves": git in names and git not in waiting,
        "delivery": delivered,
        "waiting": waiting,
        "labels": {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in nodes},
        "made_from": last_applied.annotated(nodes),
    }
