"""Every row of the catalogue with the facts or the message that reproduce it, and how real they are.

`reproduced` says where a row was seen: `lab` on a real lab or engine (tests/e2e/test_doctor.py), `program` with real
programs, servers and files, `stand-in` by a probe that read a program or files in place of the real ones (both in
tests/integration/doctor), `made` in facts made by hand from the healthy ones, `words` by a message as other projects
have reported it. The first of these that there is counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from tests.unit.doctor.recording import load

from threezone.clients.docker.engine import State
from threezone.doctor.facts import Cluster, Declared, Facts
from threezone.engine.find import Engine
from threezone.zones.proof import Cause, Proof, Stage

Reproduced = Literal["lab", "program", "stand-in", "made", "words"]
Break = Callable[[Facts], Facts]


@dataclass(frozen=True)
class Fault:
    """How a row is reproduced: by facts, or by the name of recorded ones, or by a message."""

    reproduced: Reproduced
    broken: Break | None = None
    message: str = ""
    recorded: str = ""
    first: bool = True  # False for a row that something else always explains


def part(name: str, **changes: Any) -> Break:
    """The facts with other values in one part."""
    return lambda facts: replace(facts, **{name: replace(getattr(facts, name), **changes)})


def both(*breaks: Break) -> Break:
    """Several changes, one after the other."""

    def broken(facts: Facts) -> Facts:
        for each in breaks:
            facts = each(facts)
        return facts

    return broken


def engine(state: State, words: str = "") -> Break:
    """An engine in this state; nothing else that needs it was observed."""

    def broken(facts: Facts) -> Facts:
        assert facts.engine is not None
        of = Engine(state, "unix:///var/run/docker.sock", words)
        return replace(
            unreachable("refused")(facts),
            engine=replace(facts.engine, engine=of, skew=None),
            cluster=None,
            networks=None,
        )

    return broken


def unreachable(cause: Cause, why: str = "it failed", zone: str = "host", server: str = "") -> Break:
    """A route whose proof failed for this reason."""

    def broken(facts: Facts) -> Facts:
        assert facts.route is not None
        route = replace(facts.route.proof.route, server=server or facts.route.proof.route.server)
        proof = Proof(route, (Stage("tcp", ok=False, seconds=0.1, why=why, cause=cause),), 0.1, why)
        return replace(facts, route=replace(facts.route, proof=proof, zone=zone), world=None)

    return broken


def cluster(state: str, node_state: str = "", holder: str = "") -> Break:
    """A cluster in this state, with its containers in that one; its API does not answer."""

    def broken(facts: Facts) -> Facts:
        assert facts.cluster is not None
        nodes = tuple(replace(node, state=node_state, ports="") for node in facts.cluster.nodes) if node_state else ()
        facts = replace(facts, cluster=Cluster(state, nodes, holder), declared=None)
        return unreachable("refused")(facts) if node_state != "running" else facts

    return broken


def declared(**changes: Any) -> Break:
    """The declared cluster with these values."""
    return lambda facts: replace(facts, declared=Declared(api_port=36443, **changes))


def entry(**changes: Any) -> Break:
    """The user's entry with other values."""

    def broken(facts: Facts) -> Facts:
        assert facts.kubeconfig is not None
        assert facts.kubeconfig.entry is not None
        return part("kubeconfig", entry=replace(facts.kubeconfig.entry, **changes))(facts)

    return broken


def expired(facts: Facts) -> Facts:
    return entry(certificate_ends=facts.now - timedelta(days=1))(facts)


def item(collection: str, key: str, change: Mapping[str, Any] | None) -> Break:
    """A listed object with other values (None: without it)."""

    def broken(facts: Facts) -> Facts:
        assert facts.world is not None
        kept = []
        for each in getattr(facts.world, collection):
            namespace = each["metadata"].get("namespace", "")
            if f"{namespace}/{each['metadata']['name']}" != key:
                kept.append(each)
            elif change is not None:
                kept.append({**each, **{name: {**each.get(name, {}), **value} for name, value in change.items()}})
        return part("world", **{collection: kept})(facts)

    return broken


NODE = "/doctor-lab-control-plane"


def node_condition(kind: str, status: str, message: str) -> Break:
    def broken(facts: Facts) -> Facts:
        assert facts.world is not None
        conditions = [each for each in facts.world.nodes[0]["status"]["conditions"] if each["type"] != kind]
        new = {"type": kind, "status": status, "message": message}
        return item("nodes", NODE, {"status": {"conditions": [*conditions, new]}})(facts)

    return broken


def waiting(reason: str, message: str, status: Mapping[str, Any] | None = None) -> Break:
    """A pod in the namespace default that waits."""
    containers = [{"name": "it", "state": {"waiting": {"reason": reason, "message": message}}}]

    def broken(facts: Facts) -> Facts:
        assert facts.world is not None
        meta = {"name": "app", "namespace": "default", "labels": {}}
        new = {"metadata": meta, "spec": {}, "status": status or {"phase": "Pending", "containerStatuses": containers}}
        return part("world", pods=[*facts.world.pods, new])(facts)

    return broken


def flux(kind: str, message: str, reason: str = "Failed", *, stalled: bool = False, **meta: Any) -> Break:
    """Flux's object `lab` of this kind, not ready with this message."""

    def broken(facts: Facts) -> Facts:
        assert facts.world is not None
        conditions = [{"type": "Ready", "status": "False", "reason": reason, "message": message}]
        conditions += [{"type": "Stalled", "status": "True", "reason": reason, "message": message}] if stalled else []
        changed = [
            replace(
                one,
                item={**one.item, "metadata": {**one.item["metadata"], **meta}, "status": {"conditions": conditions}},
            )
            if one.kind.kind == kind and one.name == "lab"
            else one
            for one in facts.world.flux
        ]
        return part("world", flux=changed)(facts)

    return broken


def helm_release(facts: Facts) -> Facts:
    assert facts.world is not None
    like = next(one for one in facts.world.flux if one.kind.kind == "Kustomization")
    kind = replace(like.kind, kind="HelmRelease", group="helm.toolkit.fluxcd.io", plural="helmreleases")
    return flux("HelmRelease", "Helm install failed: timed out")(
        part("world", flux=[*facts.world.flux, replace(like, kind=kind)])(facts)
    )


def second_flux(facts: Facts) -> Facts:
    assert facts.world is not None
    flux = [each for each in facts.world.deployments if each["metadata"]["namespace"] == "flux-system"]
    others = [{**each, "metadata": {**each["metadata"], "namespace": "flux-two"}} for each in flux]
    return part("world", deployments=[*facts.world.deployments, *others])(facts)


def without_flux(facts: Facts) -> Facts:
    assert facts.world is not None
    rest = [each for each in facts.world.deployments if each["metadata"]["namespace"] != "flux-system"]
    return part("world", deployments=rest, flux=(), flux_definitions=False)(facts)


def control_plane(facts: Facts) -> Facts:
    assert facts.world is not None
    key = next(
        f"kube-system/{each['metadata']['name']}"
        for each in facts.world.pods
        if "scheduler" in each["metadata"]["name"]
    )
    return item("pods", key, {"status": {"phase": "Running", "conditions": []}})(facts)


def just_started(facts: Facts) -> Facts:
    assert facts.cluster is not None
    nodes = tuple(replace(node, status="Up 5 seconds") for node in facts.cluster.nodes)
    return replace(facts, cluster=replace(facts.cluster, nodes=nodes))


def second_node(facts: Facts) -> Facts:
    assert facts.cluster is not None
    worker = replace(facts.cluster.nodes[0], name="doctor-lab-worker", role="worker", state="exited", ports="")
    return replace(facts, cluster=replace(facts.cluster, state="stopped", nodes=(*facts.cluster.nodes, worker)))


DIALLED = "failed to checkout and determine revision: unable to clone: dial tcp: lookup git.threezone.svc: i/o timeout"
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."}
NO_NODE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
NO_DATA_KEY = (
    "decryption failed for 'shop': failed to decrypt and format 'hello/shop' Secret data: cannot get sops data key: "
    "Failed to get the data key required to decrypt the SOPS file.\n\nGroup 0: FAILED"
)
FLUX_TIMEOUT = "timeout waiting for: [Deployment/hello/hello status: 'InProgress']"
SCALED = {"spec": {"replicas": 0}, "status": {"availableReplicas": 0}}
DOWN = {"status": {"availableReplicas": 0}}
TERMINATING = {"metadata": {"deletionTimestamp": "2026-11-27T10:00:00Z"}}
FAULTS: dict[str, Fault] = {
    "engine-missing": Fault("program", engine("missing"), "error: the program docker is not on PATH"),
    "engine-stopped": Fault("stand-in", engine("stopped")),
    "engine-forbidden": Fault("stand-in", engine("forbidden")),
    "engine-too-old": Fault("stand-in", engine("too-old")),
    "docker-client-too-old": Fault("lab", engine("old-client")),
    "docker-context": Fault("lab", engine("no-context")),
    "docker-certificates": Fault("lab", engine("certificates")),
    "docker-proxy": Fault("lab", engine("proxy"), "docker: proxyconnect tcp: dial tcp: no such host"),
    "docker-host": Fault("lab", engine("no-socket")),
    "docker-is-podman": Fault("stand-in", engine("podman")),
    "engine-unreachable": Fault("lab", engine("unreachable")),
    "engine-capabilities": Fault(
        "made",
        lambda facts: (
            part("engine", engine=replace(facts.engine.engine, runtime="runc"))(facts) if facts.engine else facts
        ),
    ),
    "clock-skew": Fault("made", part("engine", skew=-7200.0)),
    "rootless-cgroup-v1": Fault(
        "made",
        lambda facts: (
            part("engine", engine=replace(facts.engine.engine, rootless=True))(facts) if facts.engine else facts
        ),
    ),
    "kind-provider": Fault("lab", part("engine", podman="podman")),
    "docker-snap": Fault("made", part("engine", program="/snap/bin/docker")),
    "docker-init": Fault("made", part("engine", init=True)),
    "docker-container-proxies": Fault("lab", part("engine", proxies="config.json gives every container a proxy")),
    "docker-default-platform": Fault(
        "lab", lambda facts: replace(facts, environment={"DOCKER_DEFAULT_PLATFORM": "linux/arm64"})
    ),
    "network-ambiguous": Fault("made", part("networks", names=("kind", "kind", "bridge"))),
    "address-pools": Fault("made", part("networks", names=tuple(f"net-{number}" for number in range(30)))),
    "subnet-clash": Fault("made", part("host", routes=(("tun0", "172.18.0.0/15"),))),
    "no-ipv6": Fault("made", both(part("host", ipv6=False), part("declared", ip_family="dual"))),
    "inotify-limits": Fault("stand-in", part("host", free_inotify=0)),
    "inotify-watches": Fault("stand-in", part("host", inotify_watches=8192)),
    "disk-full": Fault("made", part("host", disk_free=10**9)),
    "memory-low": Fault("stand-in", part("host", memory_available=10**8)),
    "pids-limit": Fault("stand-in", part("host", pids=(99, 100))),
    "conntrack-full": Fault("stand-in", part("host", conntrack=(100, 100))),
    "wsl-cgroups": Fault("stand-in", part("host", wsl=True, cgroups="hybrid")),
    "cluster-unknown": Fault("lab", engine("unreachable"), first=False),
    "cluster-absent": Fault("lab", cluster("absent")),
    "cluster-stopped": Fault("lab", cluster("stopped", "exited")),
    "cluster-paused": Fault("lab", cluster("stopped", "paused")),
    "cluster-interrupted": Fault("lab", cluster("interrupted", "running")),
    "cluster-busy": Fault("made", cluster("busy", holder="the cluster is being changed by me")),
    "cluster-not-ours": Fault("made", cluster("foreign", "running")),
    "cluster-name-too-long": Fault(
        "made", both(cluster("absent"), declared(name_problem="the name has 60 characters"))
    ),
    "etcd-on-tmpfs": Fault("made", part("declared", on_tmpfs=True)),
    "cluster-restarting": Fault("made", both(cluster("running", "running"), just_started, control_plane)),
    "node-stopped": Fault("made", second_node),
    "node-pressure": Fault("made", node_condition("DiskPressure", "True", "kubelet has disk pressure")),
    "node-network": Fault("lab", node_condition("Ready", "False", "NetworkPluginNotReady: cni plugin not initialized")),
    "kubelet-silent": Fault("lab", node_condition("Ready", "Unknown", "Kubelet stopped posting node status.")),
    "node-not-ready": Fault("made", node_condition("Ready", "False", "PLEG is not healthy")),
    "control-plane-unready": Fault("lab", control_plane),
    "kube-proxy-down": Fault("lab", item("daemonsets", "kube-system/kube-proxy", None)),
    "dns-down": Fault("lab", item("deployments", "kube-system/coredns", SCALED)),
    "storage-down": Fault("lab", item("deployments", "local-path-storage/local-path-provisioner", SCALED)),
    "kubeconfig-broken": Fault("program", part("kubeconfig", problem="not a kubeconfig\nline 3", entry=None)),
    "kubeconfig-lock": Fault("lab", part("kubeconfig", locks=(("/home/me/.kube/config.lock", 3600.0),))),
    "kubeconfig-dangling": Fault(
        "lab", part("kubeconfig", dangling=("the context kind-doctor-lab names the user x, which no file has",))
    ),
    "kubeconfig-disagree": Fault("program", part("kubeconfig", different=("cluster kind-kind: a and b differ",))),
    "kubeconfig-exposed": Fault("program", part("kubeconfig", exposed=(("/home/me/.kube/config", 0o644),))),
    "entry-missing": Fault("lab", both(part("kubeconfig", entry=None), lambda f: replace(f, route=None, world=None))),
    "stale-ca": Fault("lab", both(entry(ca="0" * 64), unreachable("authority"))),
    "foreign-authority": Fault("lab", unreachable("authority")),
    "client-certificate-expired": Fault("lab", both(expired, unreachable("unauthorized"))),
    "login-refused": Fault("lab", unreachable("unauthorized")),
    "server-certificate-date": Fault("made", unreachable("date")),
    "tls-name": Fault("lab", unreachable("name")),
    "api-port-taken": Fault("lab", both(cluster("stopped", "exited"), declared(holder="process 7 (nc)"))),
    "localhost-trap": Fault("made", unreachable("refused", zone="container")),
    "route-unknown-name": Fault("lab", unreachable("unknown-name")),
    "entry-proxy-url": Fault("made", both(entry(proxy_url=True), unreachable("silent"))),
    "environment-proxy": Fault("made", part("route", proxied="kubectl would send its calls through a proxy")),
    "api-refused": Fault("lab", unreachable("refused")),
    "api-silent": Fault("made", unreachable("silent")),
    "not-an-api-server": Fault("program", unreachable("plain-http")),
    "api-not-ready": Fault("made", unreachable("not-ready")),
    "pull-rate-limit": Fault("made", waiting("ErrImagePull", "toomanyrequests: You have reached your pull rate limit")),
    "tls-intercepted": Fault("lab", waiting("ErrImagePull", "x509: certificate signed by unknown authority")),
    "pull-plain-http": Fault("lab", waiting("ErrImagePull", "http: server gave HTTP response to HTTPS client")),
    "pull-localhost": Fault("lab", waiting("ErrImagePull", "dial tcp [::1]:5001: connect: connection refused")),
    "pull-login": Fault("made", waiting("ErrImagePull", "pull access denied, repository does not exist")),
    "image-pull": Fault("lab", waiting("ImagePullBackOff", 'Back-off pulling image "registry.invalid/none:1"')),
    "container-config": Fault("lab", waiting("CreateContainerConfigError", 'configmap "none" not found')),
    "crash-loop": Fault("lab", waiting("CrashLoopBackOff", "back-off 40s restarting failed container")),
    "pod-unschedulable": Fault("lab", waiting("", "", {"phase": "Pending", "conditions": [NO_NODE]})),
    "pods-evicted": Fault("lab", waiting("", "", EVICTED)),
    "version-skew": Fault("made", part("here", kubectl="1.30.0")),
    "flux-unknown": Fault("lab", lambda facts: replace(facts, world=None)),
    "flux-missing": Fault("lab", without_flux),
    "flux-twice": Fault("made", second_flux),
    "flux-scaled-to-zero": Fault("lab", item("deployments", "flux-system/helm-controller", SCALED)),
    "flux-controller-down": Fault("lab", item("deployments", "flux-system/helm-controller", DOWN)),
    "flux-suspended": Fault("lab", recorded="flux-suspended"),
    "source-authentication": Fault("lab", flux("GitRepository", "unable to clone: authentication required")),
    "source-scheme": Fault("words", flux("GitRepository", 'scheme "" is not supported')),
    "source-reference": Fault("lab", flux("GitRepository", 'couldn\'t find remote ref "refs/heads/none"')),
    "source-unreachable": Fault("lab", flux("GitRepository", DIALLED)),
    "source-failed": Fault("made", flux("GitRepository", "signature is not valid")),
    "crd-missing": Fault("lab", flux("Kustomization", 'no matches for kind "ServiceMonitor" in version "v1"')),
    "kustomization-build": Fault("lab", flux("Kustomization", "kustomization path not found: stat /tmp/none")),
    "decryption-key": Fault("made", flux("Kustomization", NO_DATA_KEY)),
    "kustomization-failed": Fault("lab", flux("Kustomization", FLUX_TIMEOUT, "HealthCheckFailed")),
    "helm-release-failed": Fault("made", helm_release),
    "flux-stalled": Fault("made", flux("Kustomization", "it was given up", "InvalidPath", stalled=True)),
    "deletion-stuck": Fault("lab", item("namespaces", "/flux-system", TERMINATING)),
    "git-server-down": Fault("lab", item("deployments", "threezone/git", SCALED)),
    "git-password-lost": Fault("lab", part("world", git_password=False)),
    "forward-dangling": Fault(
        "lab", part("here", daemons=(("git-kind-doctor-lab", "127.0.0.1:8418 does not answer"),))
    ),
    "git-ownership": Fault("program", part("here", repository_problem="detected dubious ownership in repository")),
    "git-index-lock": Fault("program", part("here", index_lock="/home/me/lab/.git/index.lock", index_lock_age=600.0)),
    "create-timed-out": Fault(
        "words", message='could not find a log line that matches "Reached target .*Multi-User System.*"'
    ),
    "kubelet-cgroup-v1": Fault("words", message="kubelet is configured to not run on a host using cgroup v1"),
    "rootfs-info": Fault("words", message="failed to get rootfs info: failed to get device for dir"),
    "host-firewall": Fault("words", message="dial tcp 172.18.0.2:6443: connect: no route to host"),
    "nested-cgroups": Fault("words", message="root container [kubelet kubepods] doesn't exist"),
    "archive-digest": Fault("words", message="ctr: content digest sha256:12ab: not found"),
    "containerd-config": Fault("words", message="unknown containerd config version: 4"),
    "etcd-slow": Fault("words", message='etcd: "apply request took too long"'),
    "kubeadm-patches": Fault("words", message="deprecated API spec: kubeadm.k8s.io/v1beta3"),
    "legacy-common-name": Fault("words", message="x509: certificate relies on legacy Common Name field"),
    "kuberc-defaults": Fault("words", message="error: unknown flag: --x in /home/me/.kube/kuberc"),
    "port-mappings": Fault("words", message="curl: (7) Failed to connect to localhost port 8080: Connection refused"),
    "download-mismatch": Fault("words", message="SHA256 does not match the pinned one"),
}


def broken_facts(*ids: str) -> Facts:
    """The facts of the healthy lab with these faults."""
    facts = load("healthy")
    for id_ in ids:
        change = FAULTS[id_].broken
        assert change is not None
        facts = change(facts)
    return facts
