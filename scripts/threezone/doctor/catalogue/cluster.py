"""Rows about the cluster's nodes and its own parts: zone 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.watch import condition, key_of
from threezone.core.plan import Step, StepKind
from threezone.doctor.catalogue.engine import DOWN, KIND_ISSUES
from threezone.doctor.catalogue.host import LIMITS
from threezone.doctor.catalogue.kubeconfig import NO_ROUTE
from threezone.doctor.facts import Facts, Json
from threezone.doctor.row import Evidence, Row, when

SYSTEM = "kube-system"
UP, START = "./run invoke up", "./run invoke cluster.start"
STATUS = "./run invoke cluster.status"
PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")
NODES_DOWN = ("node-stopped", "node-pressure", "node-network", "kubelet-silent", "node-not-ready")
KUBERNETES = "https://kubernetes.io/docs/"


def _state(*states: str) -> Callable[[Facts], Evidence | None]:
    def detect(facts: Facts) -> Evidence | None:
        cluster = facts.cluster
        if facts.subject.foreign or cluster is None or cluster.state not in states:
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


def _name(facts: Facts) -> Evidence | None:
    problem = facts.declared.name_problem if facts.declared else ""
    return when(problem and facts.cluster and facts.cluster.state == "absent", problem)


def _tmpfs(facts: Facts) -> Evidence | None:
    return when(facts.declared and facts.declared.on_tmpfs, "a patch of the declared cluster puts etcd's data on tmpfs")


def _nodes(facts: Facts) -> Iterator[tuple[str, Json]]:
    """The nodes that the API server has and the engine runs, by name."""
    stopped = {node.name for node in facts.cluster.stopped} if facts.cluster else set()
    for node in facts.world.nodes if facts.world else ():
        if node["metadata"]["name"] not in stopped:
            yield node["metadata"]["name"], node


def _pressure(facts: Facts) -> Evidence | None:
    lines = [
        f"{name}: {kind}: {condition(node, kind).get('message', '')}"
        for name, node in _nodes(facts)
        for kind in PRESSURES
        if condition(node, kind).get("status") == "True"
    ]
    return when(lines, *lines)


def _not_ready(wanted: str) -> Callable[[Facts], Evidence | None]:
    """Detect nodes that are not Ready: without a pod network, with a silent kubelet, or for any other reason."""

    def detect(facts: Facts) -> Evidence | None:
        lines, names = [], []
        for name, node in _nodes(facts):
            ready = condition(node, "Ready")
            message = str(ready.get("message", "no status yet"))
            network = "NetworkPluginNotReady" in message or "cni plugin not initialized" in message
            kind = "network" if network else "silent" if ready.get("status") == "Unknown" else "other"
            if ready.get("status") != "True" and kind == wanted:
                lines.append(f"{name}: {message[:200]}")
                names.append(name)
        sentence = f"restart the kubelet of {', '.join(names)}"
        commands = "\n".join(f"docker exec {name} systemctl restart kubelet" for name in names)
        steps = (Step(StepKind.RESTART_KUBELET, sentence, commands, target=" ".join(names)),)
        repair = wanted == "silent" and not facts.subject.foreign
        return when(lines, *lines, fix=commands if repair else "", steps=steps if repair else ())

    return detect


def _system(items: object, name: str) -> Json | None:
    listed = items if isinstance(items, list | tuple) else ()
    return next((each for each in listed if key_of(each) == f"{SYSTEM}/{name}"), None)


def _addon(facts: Facts, addon: str) -> tuple[Step, ...]:
    """The step that has kubeadm apply one of its add-ons again."""
    planes = [node.name for node in (facts.cluster.nodes if facts.cluster else ()) if node.role == "control-plane"]
    if facts.subject.foreign or not planes:
        return ()
    command = f"docker exec {planes[0]} kubeadm init phase addon {addon} --config /kind/kubeadm.conf"
    sentence = f"have kubeadm apply its add-on {addon} again"
    return (Step(StepKind.RESTORE_ADDON, sentence, command, asks=True, target=f"{planes[0]} {addon}"),)


def _kube_proxy(facts: Facts) -> Evidence | None:
    if facts.world is None or facts.subject.foreign:  # others may have replaced it (kubeProxyMode none, Cilium)
        return None
    item = _system(facts.world.daemonsets, "kube-proxy")
    steps = _addon(facts, "kube-proxy")
    fix = steps[0].command if steps else ""
    if item is None:
        return Evidence((f"there is no DaemonSet {SYSTEM}/kube-proxy",), fix, steps)
    status = item.get("status") or {}
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    line = f"DaemonSet {SYSTEM}/kube-proxy: {ready} of {wanted} pods are ready"
    if wanted == 0:
        return Evidence((line, "no node fits its nodeSelector"), fix, steps)
    return when(ready < wanted, line, *_pods(facts, "k8s-app", "kube-proxy"), fix=fix, steps=steps)


def _pods(facts: Facts, label: str, value: str) -> tuple[str, ...]:
    """A line for each pod in kube-system with this label that is not ready."""
    return tuple(
        f"pod {key_of(pod)}: {pods.problem(pod) or 'not ready'}"
        for pod in (facts.world.pods if facts.world else ())
        if pod["metadata"]["namespace"] == SYSTEM
        and (pod["metadata"].get("labels") or {}).get(label) == value
        and not pods.is_ready(pod)
    )


def scale(facts: Facts, namespace: str, name: str, replicas: int = 1) -> tuple[Step, ...]:
    """The step that scales a Deployment up from zero; asks on a cluster that is not ours."""
    command = f"kubectl -n {namespace} scale deployment {name} --replicas={replicas}"
    sentence = f"scale the Deployment {namespace}/{name} to {replicas}"
    target = f"{namespace}/{name}={replicas}"
    return (Step(StepKind.SCALE_UP, sentence, command, asks=facts.subject.foreign, target=target),)


def deployment(facts: Facts, namespace: str, name: str) -> tuple[Json | None, bool, str]:
    """A Deployment, whether it is scaled to zero, and a line when it is not available."""
    items = facts.world.deployments if facts.world else ()
    item = next((each for each in items if key_of(each) == f"{namespace}/{name}"), None)
    if item is None:
        return None, False, ""
    zero = (item.get("spec") or {}).get("replicas", 1) == 0
    available = (item.get("status") or {}).get("availableReplicas", 0)
    line = f"Deployment {namespace}/{name} is scaled to zero" if zero else ""
    if not zero and not available:
        line = f"Deployment {namespace}/{name}: no replica is available"
    return item, zero, line


def _dns(facts: Facts) -> Evidence | None:
    if facts.world is None:
        return None
    item, zero, line = deployment(facts, SYSTEM, "coredns")
    if item is None and not facts.subject.foreign:  # managed clusters have other DNS servers
        steps = _addon(facts, "coredns")
        return Evidence((f"there is no Deployment {SYSTEM}/coredns",), steps[0].command if steps else "", steps)
    if zero:
        steps = scale(facts, SYSTEM, "coredns", 2)
        return Evidence((line,), steps[0].command, steps)
    return when(line, line, *_pods(facts, "k8s-app", "kube-dns"), fix=f"kubectl -n {SYSTEM} logs deployment/coredns")


def _storage(facts: Facts) -> Evidence | None:
    _, zero, line = deployment(facts, "local-path-storage", "local-path-provisioner")
    steps = scale(facts, "local-path-storage", "local-path-provisioner") if zero else ()
    return when(line, line, fix=steps[0].command if steps else "", steps=steps)


def _control_plane(facts: Facts) -> Evidence | None:
    lines = _pods(facts, "tier", "control-plane")
    return when(lines, *lines)


def _unknown(facts: Facts) -> Evidence | None:
    engine = facts.engine.engine if facts.engine else None
    why = "the engine was not asked, because it does not answer"
    return when(facts.cluster is None and engine and engine.state != "ok", why)


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
        "A create was interrupted or failed: kind leaves the containers.", UP, "kind#1596",
        "nodes of ours without the mark of a completed create", words=r"node\(s\) already exist for a cluster",
        because_of=(*LIMITS, "clock-skew", "docker-container-proxies", "rootless-cgroup-v1", "no-ipv6"),
        detect=_state("interrupted"),
    ),
    Row(
        "cluster-busy", "cluster", "another run changes the cluster now", "another run is at work on the cluster",
        "Two runs, of other users or machines too, do not change one cluster at the same time.", "wait for its end",
        "./run invoke up", "the lease of that run, a container on the engine", detect=_state("busy"),
    ),
    Row(
        "cluster-not-ours", "cluster", "the cluster was not made by threezone",
        "the cluster was not made by threezone; it is left alone",
        "Plain kind made a cluster of this name. Our tasks change nothing there.",
        "./run invoke cluster.adopt --context kind-NAME; or another name: --name",
        "https://kind.sigs.k8s.io/docs/user/quick-start/", "its containers lack our label", risk=True,
        detect=_state("foreign"),
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
        "node-stopped", "cluster", "a node of the cluster does not run", "Kubelet stopped posting node status.",
        "Its container was stopped, or the engine ended it.", START, "kind#148",
        "the containers' state; a control plane still runs", "safe", because_of=("memory-low", "disk-full"),
        detect=_one_stopped,
    ),
    Row(
        "node-pressure", "cluster", "a node is short of disk, memory or processes",
        "The node was low on resource: ephemeral-storage; node.kubernetes.io/disk-pressure",
        "The kubelet evicts pods and accepts no new ones until the pressure is over.",
        "docker system prune; kubectl describe node",
        f"{KUBERNETES}concepts/scheduling-eviction/node-pressure-eviction/",
        "the node's conditions", words=r"(disk|memory|pid)-pressure|node was low on resource",
        because_of=("disk-full", "memory-low", "pids-limit"), detect=_pressure,
    ),
    Row(
        "node-network", "cluster", "a node has no pod network",
        "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin "
        "returns error: cni plugin not initialized",
        "No CNI plugin is configured on the node: disableDefaultCNI is declared, or kind's own did not start.",
        "install a pod network; kubectl -n kube-system get pods", "https://kind.sigs.k8s.io/docs/user/configuration/#disable-default-cni",
        "the node's Ready condition", words=r"cni plugin not initialized|NetworkPluginNotReady",
        because_of=LIMITS, detect=_not_ready("network"),
    ),
    Row(
        "kubelet-silent", "cluster", "a node runs, and its kubelet is silent",
        "NodeStatusUnknown: Kubelet stopped posting node status.",
        "The kubelet has ended or hangs, or cannot reach the API server.",
        "docker exec NODE systemctl restart kubelet; docker exec NODE journalctl -u kubelet",
        f"{KUBERNETES}tasks/debug/debug-cluster/", "the node's Ready condition is Unknown", "safe",
        r"stopped posting node status", (*LIMITS, "clock-skew"), detect=_not_ready("silent"),
    ),
    Row(
        "node-not-ready", "cluster", "a node is not Ready", "STATUS NotReady", "The kubelet gives the reason.",
        "kubectl describe node NODE", f"{KUBERNETES}tasks/debug/debug-cluster/", "the node's Ready condition",
        because_of=(*LIMITS, "node-pressure"), detect=_not_ready("other"),
    ),
    Row(
        "control-plane-unready", "cluster", "a part of the control plane is not ready",
        "etcdserver: request timed out; kube-scheduler CrashLoopBackOff",
        "etcd, the API server, the controller manager or the scheduler crashes or does not answer.",
        "kubectl -n kube-system logs POD", f"{KUBERNETES}tasks/debug/debug-cluster/", "pods of the tier control-plane",
        words=r"etcdserver: request timed out", because_of=(*LIMITS, *NODES_DOWN), detect=_control_plane,
    ),
    Row(
        "kube-proxy-down", "cluster", "kube-proxy does not run, so addresses of Services lead nowhere",
        "dial tcp 10.96.0.1:443: i/o timeout; dial tcp 10.96.0.1:443: connect: connection refused",
        "Without kube-proxy no rule leads from a Service's address to its pods, also not to the API server.",
        "docker exec NODE kubeadm init phase addon kube-proxy --config /kind/kubeadm.conf",
        f"{KUBERNETES}reference/command-line-tools-reference/kube-proxy/",
        "the DaemonSet kube-system/kube-proxy", "asks",
        r"dial tcp 10\.96\.0\.1:443", (*LIMITS, *NODES_DOWN, "conntrack-full"), detect=_kube_proxy,
    ),
    Row(
        "dns-down", "cluster", "the cluster's DNS does not run",
        "dial tcp: lookup git.threezone.svc.cluster.local on 10.96.0.10:53: i/o timeout",
        "CoreDNS has no ready replica: names of Services cannot be resolved.",
        "kubectl -n kube-system scale deployment coredns --replicas=2",
        f"{KUBERNETES}tasks/administer-cluster/dns-debugging-resolution/", "the Deployment kube-system/coredns", "safe",
        r"lookup \S+ on 10\.96\.0\.10:53", (*LIMITS, *NODES_DOWN, "kube-proxy-down", "image-pull"), detect=_dns,
    ),
    Row(
        "storage-down", "cluster", "nothing makes volumes for claims",
        "waiting for a volume to be created, either by external provisioner or manually created",
        "kind's local-path-provisioner has no ready replica.",
        "kubectl -n local-path-storage scale deployment local-path-provisioner --replicas=1",
        "https://github.com/rancher/local-path-provisioner", "its Deployment", "safe",
        r"waiting for a volume to be created", (*LIMITS, *NODES_DOWN, "kube-proxy-down", "dns-down", "image-pull"),
        detect=_storage,
    ),
)  # fmt: skip
NO_CLUSTER = ("cluster-unknown", *(row.id for row in ROWS if row.id.startswith("cluster-")), *NO_ROUTE)
PARTS_DOWN = ("control-plane-unready", "kube-proxy-down", "dns-down", "storage-down")
