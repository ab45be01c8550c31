"""Rows about the nodes and the cluster's own parts, as the API server shows them: zone 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.watch import condition, key_of
from threezone.core.plan import Step, StepKind
from threezone.doctor.catalogue.cluster import KUBERNETES
from threezone.doctor.catalogue.host import LIMITS
from threezone.doctor.facts import Facts, Json
from threezone.doctor.row import Evidence, Row, when

SYSTEM = "kube-system"
PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")
NODES_DOWN = ("cluster-restarting", "node-stopped", "node-pressure", "node-network", "kubelet-silent", "node-not-ready")


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


ROWS = (
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
        because_of=(*LIMITS, "cluster-restarting"), detect=_not_ready("network"),
    ),
    Row(
        "kubelet-silent", "cluster", "a node runs, and its kubelet is silent",
        "NodeStatusUnknown: Kubelet stopped posting node status.",
        "The kubelet has ended or hangs, or cannot reach the API server.",
        "docker exec NODE systemctl restart kubelet; docker exec NODE journalctl -u kubelet",
        f"{KUBERNETES}tasks/debug/debug-cluster/", "the node's Ready condition is Unknown", "safe",
        r"stopped posting node status", (*LIMITS, "clock-skew", "cluster-restarting"), detect=_not_ready("silent"),
    ),
    Row(
        "node-not-ready", "cluster", "a node is not Ready", "STATUS NotReady", "The kubelet gives the reason.",
        "kubectl describe node NODE", f"{KUBERNETES}tasks/debug/debug-cluster/", "the node's Ready condition",
        because_of=(*LIMITS, "node-pressure", "cluster-restarting"), detect=_not_ready("other"),
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
PARTS_DOWN = ("control-plane-unready", "kube-proxy-down", "dns-down", "storage-down")
