"""Carry out the steps that rows of the catalogue offer. Each is also a command that a person can paste."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from threezone.cluster.lab import WAIT_SECONDS, Lab
from threezone.core import daemon
from threezone.core.errors import ThreezoneError
from threezone.core.events import note, step
from threezone.core.plan import Step, StepKind


def apply(lab: Lab, steps: Sequence[Step]) -> tuple[str, ...]:
    """Carry out the steps. One that fails does not stop the others; returns a line for each that failed."""
    failed = []
    for one in steps:
        try:
            with step(one.sentence):
                ACTIONS[one.kind](lab, one)
        except ThreezoneError as error:
            failed.append(f"{one.sentence}: {error.message}")
    return tuple(failed)


def _start_engine(_lab: Lab, _step: Step) -> None:
    from threezone.core.errors import EngineError
    from threezone.engine import repair

    engine, steps = repair.diagnose()
    if not steps:
        raise EngineError(f"threezone cannot start the engine at {engine.endpoint}", fix="start it yourself")
    repair.apply(steps)


def _start_nodes(lab: Lab, _step: Step) -> None:
    from threezone.cluster import recover

    for line in recover.bring_back(lab, lambda: False) or ():
        note(line)


def _connect(lab: Lab, _step: Step) -> None:
    from threezone.zones import connect, kind_cluster

    note(connect.connect_observed(kind_cluster.observe(lab.name)).sentence)


def _remove_lock(_lab: Lab, _step: Step) -> None:
    from threezone.kubeconfig import store

    for line in store.break_lock():
        note(line)


def _restart_kubelet(_lab: Lab, one: Step) -> None:
    from threezone.cluster import pod_recovery

    pod_recovery.restart_kubelets(one.target.split())


def _restore_addon(_lab: Lab, one: Step) -> None:
    from threezone.clients.docker import containers

    node, addon = one.target.split()
    containers.execute(node, "kubeadm", "init", "phase", "addon", addon, "--config", "/kind/kubeadm.conf", timeout=60)


def _scale_up(lab: Lab, one: Step) -> None:
    name, _, replicas = one.target.partition("=")
    namespace, _, deployment = name.partition("/")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}"
    lab.api.merge(path, {"spec": {"replicas": int(replicas)}})


def _install_flux(lab: Lab, _step: Step) -> None:
    from threezone.flux import components, install

    install.install(lab)
    components.wait_ready(lab.api, components.REQUIRED, WAIT_SECONDS)


def _resume(lab: Lab, one: Step) -> None:
    from threezone.flux import objects, reconcile

    wanted = one.target.split()
    targets = [each for each in objects.observe(lab.api) if each.path in wanted and each.suspended]
    reconcile.resume(lab.api, targets, lab.settings.gitops.timeout)


def _delete_pods(lab: Lab, one: Step) -> None:
    """Delete those pods that are still there and still have ended: a name may belong to another pod by now."""
    for key in one.target.split():
        namespace, _, name = key.partition("/")
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        pod = lab.api.get(path)
        if pod is not None and (pod.get("status") or {}).get("phase") == "Failed":
            lab.api.send("DELETE", path)


def _serve_git(lab: Lab, _step: Step) -> None:
    from threezone.delivery import serve

    serve.serve(lab)


def _end_daemon(_lab: Lab, one: Step) -> None:
    daemon.stop(one.target)


ACTIONS: dict[StepKind, Callable[[Lab, Step], None]] = {
    StepKind.START_ENGINE: _start_engine,
    StepKind.START_NODES: _start_nodes,
    StepKind.CONNECT: _connect,
    StepKind.REMOVE_LOCK: _remove_lock,
    StepKind.RESTART_KUBELET: _restart_kubelet,
    StepKind.RESTORE_ADDON: _restore_addon,
    StepKind.SCALE_UP: _scale_up,
    StepKind.INSTALL_FLUX: _install_flux,
    StepKind.RESUME_OBJECTS: _resume,
    StepKind.DELETE_PODS: _delete_pods,
    StepKind.SERVE_GIT: _serve_git,
    StepKind.END_DAEMON: _end_daemon,
}
