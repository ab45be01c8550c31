"""Rows about the project here, and rows that only a pasted message recognises."""

from __future__ import annotations

import shlex

from threezone.cluster.preflight import INOTIFY_FIX
from threezone.doctor.facts import Facts
from threezone.doctor.row import Evidence, Row, when

OLD_LOCK = 60.0  # seconds; git holds it for a command


def _repository(facts: Facts) -> Evidence | None:
    problem = facts.here.repository_problem if facts.here else ""
    dubious = "dubious ownership" in problem or "unsafe repository" in problem
    fix = f"git config --global --add safe.directory {shlex.quote(facts.subject.root)}"
    return when(dubious, *problem.splitlines()[:2], fix=fix)


def _index(facts: Facts) -> Evidence | None:
    here = facts.here
    if here is None or not here.index_lock or here.index_lock_age <= OLD_LOCK:
        return None
    fix = f"rm {shlex.quote(here.index_lock)}, if no git runs"
    return Evidence((f"{here.index_lock} is {here.index_lock_age:.0f} s old",), fix=fix)


ROWS = (
    Row(
        "git-ownership", "project", "git refuses the repository: it belongs to another user",
        "fatal: detected dubious ownership in repository at '/workspaces/lab'",
        "The checkout was made by another user, as in a container or a job.",
        "git config --global --add safe.directory PATH", "https://git-scm.com/docs/git-config#Documentation/git-config.txt-safedirectory",
        "`git rev-parse` in the project", words=r"dubious ownership|unsafe repository", detect=_repository,
    ),
    Row(
        "git-index-lock", "project", "a killed git has left its lock",
        "fatal: Unable to create '/home/me/lab/.git/index.lock': File exists.",
        "git locks the index while it changes it. A lock of a killed git stays.", "rm .git/index.lock, if no git runs",
        "https://git-scm.com/docs/gitrepository-layout", "the lock's age", words=r"index\.lock.*File exists", risk=True,
        detect=_index,
    ),
    Row(
        "create-timed-out", "cluster", "kind gave a node up that started too slowly",
        'could not find a log line that matches "Reached target .*Multi-User System.*|detected cgroup v1"',
        "kind waits 30 s for systemd in a node. A loaded machine, or one without inotify instances, needs longer.",
        f"./run invoke up once more, with less beside it; {INOTIFY_FIX}", "kind#2460",
        words=r"could not find a log line that matches",
    ),
    Row(
        "kubelet-cgroup-v1", "cluster", "the kubelet refuses cgroup v1",
        "kubelet is configured to not run on a host using cgroup v1",
        "Kubernetes 1.35 and newer refuse cgroup v1 unless failCgroupV1 is false. Our tasks declare that where needed.",
        "./run invoke up; with plain kind: a KubeletConfiguration patch with failCgroupV1: false",
        "https://kubernetes.io/docs/concepts/architecture/cgroups/", words=r"not run on a host using cgroup v1",
    ),
    Row(
        "rootfs-info", "cluster", "the kubelet finds no device below its root directory",
        "failed to get rootfs info: failed to get device for dir /var/lib/kubelet; stat failed on /dev/…",
        "btrfs, ZFS or an encrypted disk: the device of the engine's disk is not visible in the node.",
        "mount it by extraMounts: hostPath /dev/mapper, containerPath /dev/mapper", "kind#2411",
        words=r"failed to get rootfs info|stat failed on /dev/",
    ),
    Row(
        "host-firewall", "engine", "the host's firewall stops packets between containers",
        "dial tcp 172.18.0.2:6443: connect: no route to host; FORWARD DROP",
        "firewalld, nftables or SELinux on the host does not know the engine's bridges.",
        "sudo firewall-cmd --zone=trusted --add-interface=docker0 --permanent && sudo firewall-cmd --reload",
        "kind#1547",
        words=r"connect: no route to host",
    ),
    Row(
        "nested-cgroups", "engine", "the control groups of an outer container are not nested",
        "failed to start ContainerManager: system validation failed; root container [kubelet kubepods] doesn't exist",
        "An engine in a container, as in a devcontainer, needs its own cgroup namespace.",
        "docker run --cgroupns=private for the outer container, or mount the host's engine socket", "kind#3196",
        words=r"root container \[kubelet kubepods\] doesn.t exist",
    ),
    Row(
        "archive-digest", "cluster", "an archive of images lacks the layers of this platform",
        "ctr: content digest sha256:…: not found",
        "Docker with containerd's image store saves an index of all platforms and the layers of one.",
        "./run invoke image.load; by hand: docker save --platform linux/amd64, kind load image-archive", "kind#3795",
        words=r"content digest sha256:\S+ not found|content digest .* not found",
    ),
    Row(
        "containerd-config", "cluster", "the node's containerd reads another version of its configuration",
        "unknown containerd config version: 4", "The node's image is newer than kind, or older.",
        "./run invoke tools.install; use the node image of kind's release notes", "https://github.com/kubernetes-sigs/kind/releases",
        words=r"unknown containerd config version|containerd config version .* is not supported",
    ),
    Row(
        "etcd-slow", "cluster", "etcd waits for the disk", "etcd: apply request took too long",
        "etcd flushes every write. A slow or shared disk makes leaders lose their leases.",
        "use a faster disk for the engine, or fewer clusters", "kind#2692",
        words=r"took too long.*(etcd|expected-duration)|etcd.*took too long",
    ),
    Row(
        "kubeadm-patches", "cluster", "kubeadm patches of another version are ignored",
        "your configuration file uses a deprecated API spec: kubeadm.k8s.io/v1beta3",
        "Patches name an apiVersion. One for v1beta3 does not apply where kubeadm reads v1beta4.",
        "name v1beta4 in the patches, or no apiVersion", "https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/",
        words=r"kubeadm\.k8s\.io/v1beta3",
    ),
    Row(
        "legacy-common-name", "route", "a certificate has its name in an old place",
        "x509: certificate relies on legacy Common Name field, use SANs instead",
        "Programs written in Go read only the subject's alternative names.", "make a certificate with SANs",
        "https://go.dev/doc/go1.15#commonname", words=r"legacy Common Name",
    ),
    Row(
        "kuberc-defaults", "tools", "kubectl has other defaults than a script expects",
        "error: unknown flag: --…; no output, or another format",
        "kuberc in ~/.kube sets defaults and aliases of options, for scripts too. Our tasks switch it off.",
        "export KUBERC=off", "https://kubernetes.io/docs/reference/kubectl/kuberc/", words=r"kuberc",
    ),
    Row(
        "port-mappings", "cluster", "a port mapping was declared after the cluster was created",
        "curl: (7) Failed to connect to 127.0.0.1 port 8080: Connection refused",
        "The engine publishes ports when it creates a container, not later.",
        "./run invoke cluster.plan; ./run invoke up --recreate", "kind#2720",
        words=r"Failed to connect to (127\.0\.0\.1|localhost) port \d+",
    ),
    Row(
        "download-mismatch", "tools", "a download was intercepted or cut off",
        "checksum mismatch; hash mismatch; SHA256 does not match",
        "A proxy answered in place of the server, or the file changed: it is never used.",
        "try again; behind a proxy: HTTPS_PROXY; or --channel source", "https://kubernetes.io/docs/tasks/tools/",
        words=r"(checksum|hash|sha-?256).*(mismatch|does not match|differs)",
    ),
)  # fmt: skip
