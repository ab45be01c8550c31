"""Rows about the limits of the engine's machine: zone 2."""

from __future__ import annotations

from threezone.cluster.preflight import INOTIFY_FIX, INOTIFY_PER_NODE, SPACE_NEEDED
from threezone.doctor.catalogue.engine import KIND_ISSUES
from threezone.doctor.facts import Facts
from threezone.doctor.row import Evidence, Row, when

GIB = 1024**3
LEAST_MEMORY = GIB // 2
LEAST_WATCHES = 65536
FULL = 0.95  # of a table of the kernel


def _inotify(facts: Facts) -> Evidence | None:
    free = facts.host.free_inotify if facts.host else None
    needed = INOTIFY_PER_NODE["control-plane"]
    running = facts.cluster is not None and facts.cluster.state == "running" and not facts.cluster.stopped
    applies = free is not None and free < (1 if running else needed)
    return when(applies, f"{free} inotify instances are left for root; a control plane needs about {needed}")


def _watches(facts: Facts) -> Evidence | None:
    watches = facts.host.inotify_watches if facts.host else None
    return when(watches is not None and watches < LEAST_WATCHES, f"fs.inotify.max_user_watches is {watches}")


def _disk(facts: Facts) -> Evidence | None:
    free = facts.host.disk_free if facts.host else None
    if facts.host is None or free is None or free >= SPACE_NEEDED:
        return None
    return Evidence((f"{free / GIB:.1f} GiB free below {facts.host.disk_root}",))


def _memory(facts: Facts) -> Evidence | None:
    free = facts.host.memory_available if facts.host else None
    return when(free is not None and free < LEAST_MEMORY, f"{(free or 0) / 2**20:.0f} MiB of memory are available")


def _pids(facts: Facts) -> Evidence | None:
    used, most = (facts.host.pids if facts.host else None) or (0, 0)
    return when(most and used >= FULL * most, f"{used} of {most} threads exist")


def _conntrack(facts: Facts) -> Evidence | None:
    used, most = (facts.host.conntrack if facts.host else None) or (0, 0)
    return when(most and used >= FULL * most, f"{used} of {most} connections are tracked")


def _wsl(facts: Facts) -> Evidence | None:
    applies = facts.host and facts.host.wsl and facts.host.cgroups == "hybrid"
    return when(applies, "WSL with the hierarchies of cgroup v1 and v2 at the same time")


ROWS = (
    Row(
        "inotify-limits", "engine", "the engine's machine has too few inotify instances",
        "failed to create fsnotify watcher: too many open files; Failed to create inotify object: Too many open files",
        "Every node opens about 22 inotify instances as root, and the kernel's limit is per user (128 by default).",
        INOTIFY_FIX, f"{KIND_ISSUES}#pod-errors-due-to-too-many-open-files",
        "fs.inotify.max_user_instances less those that root's processes hold",
        words=r"too many open files|failed to create inotify object|fsnotify", risk=True, detect=_inotify,
    ),
    Row(
        "inotify-watches", "engine", "the engine's machine has too few inotify watches",
        "failed to watch file … no space left on device",
        "The limit of inotify watches is used up; the disk is not full, although the message says so.",
        INOTIFY_FIX, "kind#2399", "fs.inotify.max_user_watches below 65536",
        words=r"watch.*no space left on device", risk=True, detect=_watches,
    ),
    Row(
        "disk-full", "engine", "the engine's disk is nearly full",
        "no space left on device; Unable to connect to the server: EOF",
        "etcd stops, images cannot be unpacked, and the kubelet evicts pods when the engine's disk is full.",
        "docker system prune, or free some space", "kind#156", "free bytes below the engine's directory",
        words=r"no space left on device", risk=True, detect=_disk,
    ),
    Row(
        "memory-low", "engine", "the engine's machine has hardly any memory left",
        "OOMKilled; The node was low on resource: memory",
        "A control plane needs about 1 GiB. The kernel ends programs when there is none left.",
        "end other programs, delete other clusters (./run invoke cluster.list), or give Docker Desktop more memory",
        KIND_ISSUES, "MemAvailable in /proc/meminfo below 512 MiB", words=r"OOMKilled|low on resource: memory",
        risk=True, detect=_memory,
    ),
    Row(
        "pids-limit", "engine", "the engine's machine can hardly start another thread",
        "fork/exec: resource temporarily unavailable; runtime: failed to create new OS thread",
        "The limit of threads of the machine, or of the control group that we are in, is reached.",
        "end what starts so many threads, or sudo sysctl kernel.threads-max=… kernel.pid_max=…",
        "https://docs.kernel.org/admin-guide/sysctl/kernel.html#threads-max", "threads that exist, against the limit",
        words=r"failed to create new OS thread|fork.*resource temporarily unavailable", risk=True, detect=_pids,
    ),
    Row(
        "conntrack-full", "engine", "the kernel's table of connections is full",
        "nf_conntrack: nf_conntrack: table full, dropping packet",
        "New connections are dropped at random: timeouts that come and go, for pods and for published ports.",
        "sudo sysctl net.netfilter.nf_conntrack_max=262144",
        "https://docs.kernel.org/networking/nf_conntrack-sysctl.html", "nf_conntrack_count against nf_conntrack_max",
        words=r"nf_conntrack: table full", risk=True, detect=_conntrack,
    ),
    Row(
        "wsl-cgroups", "engine", "WSL mounts both versions of cgroups",
        "error adding pid … to cgroups: failed to write",
        "WSL's kernel mounts hybrid cgroups, and the nodes' systemd cannot use them.",
        "kernelCommandLine=cgroup_no_v1=all in .wslconfig, then wsl --shutdown", "kind#3685",
        "a kernel of WSL, and both hierarchies below /sys/fs/cgroup", words=r"error adding pid .* to cgroups",
        detect=_wsl,
    ),
)  # fmt: skip
LIMITS = ("inotify-limits", "inotify-watches", "disk-full", "memory-low", "pids-limit", "wsl-cgroups", "docker-init")
