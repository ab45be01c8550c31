"""cluster.stop: stop the nodes quickly and in order, without losing anything that etcd has acknowledged.

`docker stop` alone asks systemd in the node to halt, and that asks all containers of all pods to end at once:
kube-apiserver then waits a minute for an etcd that is gone, and CoreDNS five seconds for clients that are gone too
(`lameduck` in kubeadm's Corefile). Neither keeps any state, so they are killed; everything else is asked to end and
waited for, and only then the node is told to halt.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from threezone.clients import kind
from threezone.clients.docker import containers
from threezone.clients.kind import BALANCER, Node
from threezone.cluster import lease
from threezone.cluster.lifecycle import Observed, foreign
from threezone.core.errors import ClusterError, CommandFailed, UsageError
from threezone.core.events import Progress, step
from threezone.core.plan import Step, StepKind

GRACE = 5  # seconds for all pods of a node together
LONGEST_GRACE = 300
HALT = 10  # seconds for systemd after the pods, the default of docker stop
ENDED = ("exited", "created", "dead")  # the states in which no process of a container runs
# A node ends before those that it needs: workers, then control planes, then the balancer.
ORDER = ("worker", "control-plane", BALANCER)

# Runs in the node. Stops the kubelet first, which would restart containers; kills and names what is left in the end.
_END = r"""
set -u
systemctl stop kubelet
in_k8s() { ctr --namespace k8s.io "$@" 2>/dev/null; }
sandboxes=$(in_k8s containers list --quiet 'labels."io.cri-containerd.kind"==sandbox')
idle=$(in_k8s containers list --quiet \
  'labels."io.kubernetes.pod.namespace"==kube-system,labels."io.kubernetes.container.name"~="^(kube-apiserver|coredns)$"')
asked=
while read -r id pid state; do
  case "
$sandboxes
" in *"
$id
"*) continue ;; esac
  [ "$state" = RUNNING ] || continue
  case "
$idle
" in *"
$id
"*) kill -KILL "$pid" ;; *) kill -TERM "$pid" && asked="$asked $id:$pid" ;; esac
done <<EOT
$(in_k8s tasks list)
EOT
left=$(($1 * 20))
while :; do
  still=
  for one in $asked; do [ -d "/proc/${one#*:}" ] && still="$still $one"; done
  asked=$still
  [ -n "$asked" ] && [ "$left" -gt 0 ] || break
  left=$((left - 1))
  sleep 0.05
done
for one in $asked; do
  kill -KILL "${one#*:}" 2>/dev/null || continue
  in_k8s containers info "${one%%:*}" | sed -n \
    -e 's|.*"io.kubernetes.container.name": "\([^"]*\)".*|container \1|p' \
    -e 's|.*"io.kubernetes.pod.name": "\([^"]*\)".*|of \1|p' | tr '\n' ' '
  echo
done
"""


def plan(observed: Observed) -> tuple[Step, ...]:
    """The step that stops the cluster; none when it is stopped. Raises ClusterError if it is absent or not ours."""
    name = observed.name
    if observed.state == "absent":
        raise ClusterError(f"there is no cluster named {name}", fix="./run invoke cluster.list")
    if observed.state == "foreign":
        raise foreign(observed, f"docker stop {' '.join(node.name for node in observed.nodes)}")
    if observed.lease is not None:
        raise lease.busy(name, observed.lease)
    running = [node.name for node in in_order(observed.nodes) if node.state not in ENDED]
    if not running:
        return ()
    return (Step(StepKind.STOP_NODES, f"stop the nodes of the cluster {name}", f"docker stop {' '.join(running)}"),)


def in_order(nodes: Sequence[Node]) -> list[Node]:
    """The order in which to stop nodes. Pure."""
    return sorted(nodes, key=lambda node: (ORDER.index(node.role) if node.role in ORDER else 0, node.name))


def stop(observed: Observed, *, grace: int = GRACE) -> tuple[str, ...]:
    """Stop the nodes, with at most `grace` seconds for their pods. Returns a line for each container that was killed.

    Raises ClusterError when a node still runs.
    """
    if not 1 <= grace <= LONGEST_GRACE:
        raise UsageError(f"--grace {grace}: expected seconds from 1 to {LONGEST_GRACE}")
    with step(f"stop the nodes of {observed.name}") as running:
        killed: list[str] = []
        for role in ORDER:
            group = [node for node in observed.nodes if node.role == role and node.state not in ENDED]
            with ThreadPoolExecutor(max(1, len(group))) as pool:
                for lines in pool.map(lambda node: _stop(node, grace, running), group):
                    killed += lines
        names = [node.name for node in kind.nodes(observed.name) if node.state == "running"]
        if names:
            raise ClusterError(f"{', '.join(names)} did not stop", fix=f"docker kill {' '.join(names)}")
        running.result = ", ".join(killed)
    return tuple(killed)


def _stop(node: Node, grace: int, running: Progress) -> list[str]:
    if node.state == "paused":
        with suppress(CommandFailed):
            containers.unpause(node.container)
    lines: list[str] = []
    if node.role != BALANCER:
        running.say(f"end the pods of {node.name}")
        script = ("sh", "-s", str(grace))
        try:
            # A node whose containerd hangs is told to halt all the same.
            done = containers.execute(node.container, *script, stdin=_END, timeout=grace + 15, check=False)
            lines = [f"{node.name}: ended by force: {line.strip()}" for line in done.stdout.splitlines() if line]
        except CommandFailed as overdue:
            lines = [f"{node.name}: its pods were not ended in order: {overdue.message}"]
    running.say(f"halt {node.name}")
    try:
        containers.stop(node.container, HALT)
    except CommandFailed as error:
        lines.append(f"{node.name}: {error.tail or error.message}")
    return lines
