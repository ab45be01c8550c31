"""Rows about the cluster's nodes and its own parts: zone 3."""

from __future__ import annotations

from collections.abc import Callable

from threezone.core.plan import Step, StepKind
from threezone.doctor.catalogue.engine import DOWN, KIND_ISSUES
from threezone.doctor.catalogue.host import LIMITS
from threezone.doctor.catalogue.kubeconfig import NO_ROUTE
from threezone.doctor.facts import Facts
from threezone.doctor.row import Evidence, Row, when

UP, START = "./run invoke up", "./run invoke cluster.start"
STATUS = "./run invoke cluster.status"
KUBERNETES = "https://kubernetes.io/docs/"


def _state(*states: str) -> Callable[[Facts], Evidence | None]:
    def detect(facts: Facts) -> Evidence | None:
        cluster = facts.cluster
        elsewhere = "absent" in states and facts.world is not None  # the entry leads to a cluster of another engine
        if facts.subject.foreign or elsewhere or cluster is None or cluster.state not in states:
            return None
        name, option = facts.subject.cluster, facts.subject.option
        lines = [f"{node.name} is {node.state}" for node in cluster.nodes] or [f"the engine has no node of {name}"]
        fix = f"{START if 'stopped' in states else UP}{option}"
        steps = start(facts) if "stopped" in states else ()
        return Evidence((*([cluster.holder] if cluster.holder else []), *lines[:4]), fix, steps)

    return detect


def start(facts: Facts) -> tuple[Step, ...]:
    """The step that starts the stopped nodes and waits until their pods are back."""
    command = START + facts.subject.option
    return (Step(StepKind.START_NODES, f"start the stopped nodes of the cluster {facts.subject.cluster}", command),)


def _stopped(facts: Facts) -> Evidence | None:
    """The whole cluster is down: no control plane runs."""
    cluster = facts.cluster
    if cluster is None or cluster.state != "stopped":
        return None
    planes = [node for node in cluster.nodes if node.role == "control-plane"]
    paused = any(node.state == "paused" for node in cluster.stopped)
    applies = not paused and all(node in cluster.stopped for node in planes)
    return _state("stopped")(facts) if applies else None


def _paused(facts: Facts) -> Evidence | None:
    paused = [node.name for node in (facts.cluster.nodes if facts.cluster else ()) if node.state == "paused"]
    fix = f"docker unpause {' '.join(paused)}"
    return when(paused, *(f"{name} is paused" for name in paused), fix=fix, steps=start(facts))


def _one_stopped(facts: Facts) -> Evidence | None:
    """Some nodes are down, and a control plane still runs."""
    cluster = facts.cluster
    if cluster is None or cluster.state != "stopped":
        return None
    planes = [node for node in cluster.nodes if node.role == "control-plane" and node.state == "running"]
    down = [node.name for node in cluster.stopped if node.state != "paused"]
    return when(planes and down, *(f"{name} does not run" for name in down), steps=start(facts))


def _restarting(facts: Facts) -> Evidence | None:
    names = [node.name for node in (facts.cluster.nodes if facts.cluster else ()) if node.just_started]
    return when(names, f"started within the last minute: {', '.join(names)}", steps=start(facts))


def _name(facts: Facts) -> Evidence | None:
    problem = facts.declared.name_problem if facts.declared else ""
    return when(problem and facts.cluster and facts.cluster.state == "absent", problem)


def _tmpfs(facts: Facts) -> Evidence | None:
    return when(facts.declared and facts.declared.on_tmpfs, "a patch of the declared cluster puts etcd's data on tmpfs")


def _unknown(facts: Facts) -> Evidence | None:
    engine = facts.engine.engine if facts.engine else None
    unknown = facts.cluster is None and engine and engine.state != "ok"
    needed = facts.world is None or (engine and engine.state != "missing")
    return when(unknown and needed, "the engine was not asked, because it does not answer")


ROWS = (
    Row(
        "cluster-unknown", "cluster", "nobody knows the cluster's nodes", "Cannot connect to the Docker daemon",
        "The nodes are containers of the engine, and it does not answer.", "./run invoke engine.check", KIND_ISSUES,
        "the engine does not answer", because_of=DOWN, detect=_unknown,
    ),
    Row(
        "cluster-absent", "cluster", "there is no such cluster",
        'ERROR: no nodes found for cluster "kind"', "It was never created here, was deleted, or is on another engine.",
        UP, "https://kind.sigs.k8s.io/docs/user/quick-start/", "no container has kind's label of this cluster",
        words=r"no nodes found for cluster", because_of=("cluster-name-too-long", *LIMITS, "api-port-taken",
                                                         "docker-container-proxies", "no-ipv6", "network-ambiguous",
                                                         "address-pools", "rootless-cgroup-v1"),
        detect=_state("absent"),
    ),
    Row(
        "cluster-stopped", "cluster", "the cluster is stopped",
        "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?",
        "Its containers were stopped, or the machine was restarted: kind's nodes do not start by themselves.", START,
        "kind#148", "no control plane's container runs", "safe",
        because_of=("api-port-taken", "disk-full", "memory-low"), detect=_stopped,
    ),
    Row(
        "cluster-paused", "cluster", "nodes of the cluster are paused", "net/http: TLS handshake timeout",
        "`docker pause` froze them: they accept connections and never answer.", "docker unpause NODE",
        "https://docs.docker.com/reference/cli/docker/container/pause/", "the containers' state", "safe",
        detect=_paused,
    ),
    Row(
        "cluster-interrupted", "cluster", "the cluster was never created completely",
        'ERROR: failed to create cluster: node(s) already exist for a cluster with the name "kind"',
        "A create was interrupted or failed: kind leaves the containers.", UP, KIND_ISSUES,
        "nodes of ours without the mark of a completed create", words=r"node\(s\) already exist for a cluster",
        because_of=(*LIMITS, "clock-skew", "docker-container-proxies", "rootless-cgroup-v1", "no-ipv6"),
        detect=_state("interrupted"),
    ),
    Row(
        "cluster-busy", "cluster", "another run changes the cluster now",
        "the cluster kind is being changed by me on laptop (up, pid 7, since 10:00)",
        "Two runs, of other users or machines too, do not change one cluster at the same time.", "wait for its end",
        "./run invoke up", "the lease of that run, a container on the engine",
        words=r"the cluster \S+ is being changed by", detect=_state("busy"),
    ),
    Row(
        "cluster-not-ours", "cluster", "the cluster was not made by threezone",
        "the cluster was not made by threezone; it is left alone",
        "Plain kind made a cluster of this name. Our tasks change nothing there.",
        "./run invoke cluster.adopt --context kind-NAME; or another name: --name",
        "https://kind.sigs.k8s.io/docs/user/quick-start/", "its containers lack our label", risk=True,
        words=r"was not made by threezone", detect=_state("foreign"),
    ),
    Row(
        "cluster-name-too-long", "cluster", "the cluster's name is too long for its nodes",
        "invalid label value: must be no more than 63 characters",
        "Kubernetes puts the node's name, which contains the cluster's, into a label.", "choose a shorter --name",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/", "the length of the node names",
        words=r"must be no more than 63 (characters|bytes)", detect=_name,
    ),
    Row(
        "etcd-on-tmpfs", "cluster", "etcd's data does not survive a stop of the node",
        "everything is gone after docker stop and docker start",
        "A patch puts etcd's dataDir on tmpfs: quick, and empty after every start.", "remove the patch, or know it",
        "kind#845", "the declared cluster's patches", risk=True, detect=_tmpfs,
    ),
    Row(
        "cluster-restarting", "cluster", "nodes were started a moment ago, and their pods are not back yet",
        "CrashLoopBackOff and NotReady for a minute after docker start",
        "Pods start before kube-proxy has its rules, crash, and are started again with a growing delay.", START,
        "docs/lifecycle.md", "nodes that have run for less than a minute", "safe", risk=True, detect=_restarting,
    ),
    Row(
        "node-stopped", "cluster", "a node of the cluster does not run", "Kubelet stopped posting node status.",
        "Its container was stopped, or the engine ended it.", START, "kind#148",
        "the containers' state; a control plane still runs", "safe", because_of=("memory-low", "disk-full"),
        detect=_one_stopped,
    ),
)  # fmt: skip
NO_CLUSTER = ("cluster-unknown", *(row.id for row in ROWS if row.id.startswith("cluster-")), *NO_ROUTE)
