"""Rows about pods and their images, and about versions: zone 3."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.watch import condition, key_of
from threezone.cluster.version_skew import Versions, sentences
from threezone.core.plan import Step, StepKind
from threezone.doctor.catalogue.cluster import KUBERNETES
from threezone.doctor.catalogue.host import LIMITS
from threezone.doctor.catalogue.nodes import NODES_DOWN, PARTS_DOWN
from threezone.doctor.facts import Facts, Json
from threezone.doctor.row import Evidence, Row, when

MOST = 3  # pods in the evidence
PULLS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
CONFIGURATION = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
RATE = r"toomanyrequests|pull rate limit"
AUTHORITY = r"x509: certificate signed by unknown authority|CERTIFICATE_VERIFY_FAILED"
PLAIN = r"server gave HTTP response to HTTPS client"
LOCALHOST = r"(localhost|127\.0\.0\.1|\[::1\]):\d+.*refused"
LOGIN = r"authorization failed|401 Unauthorized|pull access denied|insufficient_scope"
KNOWN = f"{RATE}|{AUTHORITY}|{PLAIN}|{LOCALHOST}|{LOGIN}"
IMAGES = f"{KUBERNETES}concepts/containers/images/"


def _waiting(pod: Json) -> Iterator[tuple[str, str]]:
    """Reason and message of each container of a pod that waits."""
    status = pod.get("status") or {}
    for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting:
            yield str(waiting.get("reason", "")), str(waiting.get("message", ""))


def _all(facts: Facts) -> tuple[Json, ...]:
    listed = facts.world.pods if facts.world else ()
    return tuple(pod for pod in listed if not pod["metadata"].get("deletionTimestamp"))


def _lines(found: list[tuple[Json, str]]) -> tuple[str, ...]:
    shown = [f"pod {key_of(pod)}: {words[:240]}" for pod, words in found[:MOST]]
    return (*shown, *([f"and {len(found) - MOST} more"] if found[MOST:] else []))


def _pull(pattern: str) -> Callable[[Facts], Evidence | None]:
    """Detect pods whose image cannot be pulled, with a message that fits; "" for one that no other row knows."""

    def detect(facts: Facts) -> Evidence | None:
        found = []
        for pod in _all(facts):
            for reason, message in _waiting(pod):
                known = re.search(KNOWN, message, re.IGNORECASE) is not None
                if reason in PULLS and (re.search(pattern, message, re.IGNORECASE) if pattern else not known):
                    found.append((pod, f"{reason}: {message}"))
        return when(found, *_lines(found))

    return detect


def _reasons(*reasons: str, command: str) -> Callable[[Facts], Evidence | None]:
    """Detect pods that wait for one of these reasons; `command` looks at the first of them."""

    def detect(facts: Facts) -> Evidence | None:
        found = [
            (pod, pods.problem(pod) or f"{reason}: {message}")
            for pod in _all(facts)
            for reason, message in _waiting(pod)
            if reason in reasons
        ]
        if not found:
            return None
        meta = found[0][0]["metadata"]
        return Evidence(_lines(found), fix=command.format(namespace=meta["namespace"], pod=meta["name"]))

    return detect


def _unschedulable(facts: Facts) -> Evidence | None:
    found = [
        (pod, str(condition(pod, "PodScheduled").get("message", "")))
        for pod in _all(facts)
        if condition(pod, "PodScheduled").get("reason") == "Unschedulable"
    ]
    return when(found, *_lines(found))


def _evicted(facts: Facts) -> Evidence | None:
    found = [
        (pod, str(pod["status"].get("message", "")))
        for pod in _all(facts)
        if (pod.get("status") or {}).get("reason") == "Evicted"
    ]
    command = "kubectl delete pods --all-namespaces --field-selector=status.phase=Failed"
    target = " ".join(key_of(pod) for pod, _ in found)
    sentence = f"delete {len(found)} evicted pods, which have ended"
    step = Step(StepKind.DELETE_PODS, sentence, command, asks=True, target=target)
    return when(found, *_lines(found), steps=(step,))


def _skew(facts: Facts) -> Evidence | None:
    if facts.world is None or facts.here is None:
        return None
    kubelets = {
        str(node["metadata"]["name"]): str(((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", ""))
        for node in facts.world.nodes
    }
    kind = "" if facts.subject.foreign else facts.here.kind
    lines = sentences(Versions(facts.world.kubernetes, facts.here.kubectl, kubelets, kind))
    return when(lines, *lines)


ROWS = (
    Row(
        "pull-rate-limit", "cluster", "a registry refuses more pulls",
        "toomanyrequests: You have reached your pull rate limit",
        "Docker Hub counts pulls by address: the node's image and those of the pods.",
        "log in to the registry, or use the local one as a mirror: ./run invoke registry.start",
        "https://docs.docker.com/docker-hub/usage/pulls/", "the messages of pods that wait for an image", words=RATE,
        detect=_pull(RATE),
    ),
    Row(
        "tls-intercepted", "cluster", "the network intercepts TLS with a CA that is unknown here",
        "x509: certificate signed by unknown authority; CERTIFICATE_VERIFY_FAILED: self-signed certificate in "
        "certificate chain",
        "A company's proxy signs every certificate with its own CA. Nodes, containers and jobs do not have that CA.",
        "let threezone.network.ca in invoke.yaml name the PEM file of its authority (docs/networks.md)",
        f"{KUBERNETES}concepts/containers/images/", "the messages of pods that wait for an image",
        words=r"CERTIFICATE_VERIFY_FAILED|UnknownIssuer|failed to (pull|resolve|do request).*unknown authority",
        detect=_pull(AUTHORITY),
    ),
    Row(
        "pull-plain-http", "cluster", "an image is to be pulled by TLS from a registry without TLS",
        "http: server gave HTTP response to HTTPS client",
        "containerd is not told that this registry speaks plain HTTP; Flux needs `insecure: true` for it.",
        "./run invoke registry.start configures the nodes for the local registry",
        "https://kind.sigs.k8s.io/docs/user/local-registry/", "the messages of pods that wait for an image",
        words=PLAIN, detect=_pull(PLAIN),
    ),
    Row(
        "pull-localhost", "cluster", "an image's registry is localhost, which is the node itself",
        'failed to do request: Head "https://localhost:5001/v2/…": dial tcp [::1]:5001: connect: connection refused',
        "In a node, localhost is the node. Old patches with registry.mirrors switch the newer config_path off.",
        "./run invoke registry.start; use config_path instead of registry.mirrors in containerdConfigPatches",
        "https://kind.sigs.k8s.io/docs/user/local-registry/", "the messages of pods that wait for an image",
        words=r"dial tcp \[::1\]:\d+: connect: connection refused", detect=_pull(LOCALHOST),
    ),
    Row(
        "pull-login", "cluster", "a registry does not accept the pull without a login",
        "pull access denied, repository does not exist or may require authorization",
        "The registry wants a login, or the repository does not exist.",
        "check the image's name; else kubectl create secret docker-registry, and imagePullSecrets",
        f"{KUBERNETES}tasks/configure-pod-container/pull-image-private-registry/",
        "the messages of pods that wait for an image", words=LOGIN, detect=_pull(LOGIN),
    ),
    Row(
        "image-pull", "cluster", "an image cannot be pulled",
        "ErrImagePull; ImagePullBackOff; Back-off pulling image",
        "The name or tag does not exist, or the registry cannot be reached from the node.",
        "correct the image and commit; an image of this machine: ./run invoke image.load", IMAGES,
        "the messages of pods that wait for an image", words=r"ErrImagePull|ImagePullBackOff|ErrImageNeverPull",
        because_of=("docker-container-proxies", "conntrack-full"), detect=_pull(""),
    ),
    Row(
        "container-config", "cluster", "a container cannot be created from its pod's declaration",
        'CreateContainerConfigError: container has runAsNonRoot and image will run as root; secret "x" not found',
        "A Secret or ConfigMap is missing, or the image does not fit the pod's securityContext.",
        "kubectl describe pod POD; correct it and commit",
        f"{KUBERNETES}tasks/debug/debug-application/debug-pods/", "pods that wait with one of these reasons",
        words=r"CreateContainer(Config)?Error|RunContainerError|image will run as root",
        detect=_reasons(*CONFIGURATION, command="kubectl -n {namespace} describe pod {pod}"),
    ),
    Row(
        "crash-loop", "cluster", "a container ends again and again",
        "CrashLoopBackOff: back-off restarting failed container",
        "The program in it fails; its log has the reason.", "kubectl logs POD --previous",
        f"{KUBERNETES}tasks/debug/debug-application/debug-pods/", "pods that wait with this reason",
        words=r"CrashLoopBackOff|back-off \S+ restarting failed",
        because_of=(*LIMITS, *NODES_DOWN, *PARTS_DOWN, "docker-default-platform", "conntrack-full"),
        detect=_reasons("CrashLoopBackOff", command="kubectl -n {namespace} logs {pod} --previous"),
    ),
    Row(
        "pod-unschedulable", "cluster", "a pod fits on no node",
        "0/1 nodes are available: 1 Insufficient cpu; 1 node(s) had untolerated taint",
        "It asks for more than the nodes have, for a label, or does not tolerate a taint.",
        "lower its requests and commit; or more nodes: --workers",
        f"{KUBERNETES}concepts/scheduling-eviction/",
        "the pods' PodScheduled condition", words=r"\d+/\d+ nodes are available",
        because_of=(*NODES_DOWN, "storage-down"),
        detect=_unschedulable,
    ),
    Row(
        "pods-evicted", "cluster", "pods were evicted", "Evicted: The node was low on resource: ephemeral-storage.",
        "A node was short of disk or memory. Evicted pods stay listed until they are deleted.",
        "kubectl delete pods --all-namespaces --field-selector=status.phase=Failed",
        f"{KUBERNETES}concepts/scheduling-eviction/node-pressure-eviction/", "pods with the reason Evicted", "asks",
        r"\bEvicted\b", ("node-pressure", "disk-full", "memory-low"), detect=_evicted,
    ),
    Row(
        "version-skew", "cluster", "versions do not fit each other",
        "WARNING: version difference between client and server exceeds the supported minor version skew of +/-1",
        "kubectl, kubelets, kind and Flux each support a range of versions of the API server.",
        "./run invoke tools.install; set the version in local/pins.toml",
        "https://kubernetes.io/releases/version-skew-policy/", "the versions of the programs here and in the cluster",
        words=r"exceeds the supported minor version skew", risk=True, detect=_skew,
    ),
)  # fmt: skip
PODS_DOWN = tuple(row.id for row in ROWS if row.id != "version-skew")
