"""status: the state of the lab, for people and for programs. Read-only; works with any component down."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from threezone.cluster import lease
from threezone.cluster.lab import Lab
from threezone.delivery import handover
from threezone.engine.find import observe as observe_engine
from threezone.lab import plan, versions
from threezone.lab.observe import LabState, observe
from threezone.zones.locate import locate


def collect(lab: Lab) -> dict[str, Any]:
    """The lab as data; its keys are an interface."""
    state = observe(lab)
    engine = observe_engine()
    ask = not (lab.foreign or state.nodes_ready or state.engine_error)
    holder = lease.read(lab.name) if ask else None
    return {
        "zone": locate().kind,
        "engine": {
            "state": engine.state,
            "endpoint": engine.endpoint,
            "version": engine.version,
            "cgroup": engine.cgroup,
        },
        "cluster": {
            "name": lab.display_name,
            "adopted": bool(lab.foreign),
            "kubernetes": state.kubernetes or None,
            "nodes": [asdict(node) | {"ready": node.ready and node.name not in state.stopped} for node in state.nodes],
            "stopped": list(state.stopped),
            "answers": bool(state.nodes),
            "ready": state.nodes_ready,
            "why": holder.sentence if holder else why(state, adopted=bool(lab.foreign)),
            "skew": list(versions.live_skew(lab, state)),
        },
        "kubeconfig": {
            "context": lab.context if state.server else None,
            "server": state.server or None,
            "tlsServerName": state.tls_server_name or None,
        },
        "flux": {
            "version": state.flux.version or None,
            "ready": state.flux.ready,
            "components": [asdict(component) for component in state.flux.components],
        },
        "gitops": {
            "url": state.delivery.url if state.delivery else None,
            "revision": state.delivery.applied if state.delivery else None,
            "ready": plan.is_delivered(lab, state),
            "wanted": plan.revision(lab, state) or None,
            "why": state.delivery.message if state.delivery and not state.delivery.ready else None,
            "replaces": list(handover.changes(lab, state.declared, state.head)),
            "suspended": list(state.delivery.suspended) if state.delivery else [],
        },
    }


def why(state: LabState, *, adopted: bool = False) -> str | None:
    """Why the cluster is not ready, in one sentence; None when it is."""
    if state.nodes_ready:
        return None
    return state.unreachable or _not_ready(state) if adopted else _why_ours(state)  # no engine is asked for its nodes


def _why_ours(state: LabState) -> str:
    if state.engine_error is not None:
        return state.engine_error.message
    if not state.containers:
        return "there is no such cluster"
    if state.stopped:
        return f"not running: {', '.join(state.stopped)}" + _answers(state)
    if not state.containers[0].ours:
        return "this cluster was not made by threezone"
    return state.unreachable or _not_ready(state)


def _not_ready(state: LabState) -> str:
    if state.not_recovered:
        more = f" and {len(state.not_recovered) - 1} more" if len(state.not_recovered) > 1 else ""
        return f"restarted a moment ago, waiting for {state.not_recovered[0]}{more}"
    return "not Ready: " + ", ".join(node.name for node in state.nodes if not node.ready)


def _answers(state: LabState) -> str:
    """For a cluster with stopped nodes: whether its API server still answers, and through which nodes."""
    if not state.nodes:
        return ""
    planes = [node for node in state.containers if node.role == "control-plane"]
    left = [node.name for node in planes if node.name not in state.stopped]
    through = f" through {' and '.join(left)}" if 0 < len(left) < len(planes) else ""
    return f"; the API server answers{through}"


def rows(status: dict[str, Any]) -> list[list[str]]:
    """The status as a table for people."""
    engine, cluster, kubeconfig, flux, gitops = (
        status[key] for key in ("engine", "cluster", "kubeconfig", "flux", "gitops")
    )
    nodes = ", ".join(f"{n['name']} {n['version']} {_state(n, cluster)}" for n in cluster["nodes"])
    if nodes and cluster["stopped"]:
        nodes += f"; {cluster['why']}"
    tls = f" (TLS name {kubeconfig['tlsServerName']})" if kubeconfig["tlsServerName"] else ""
    parts = ", ".join(c["name"] + ("" if c["ready"] else " NOT READY") for c in flux["components"])
    asked = bool(cluster["nodes"])  # without an answer from the API server nobody knows
    absent, nothing = ("not installed", "nothing delivered") if asked else ("unknown", "unknown")
    why = f"; {gitops['why']}" if gitops["why"] else ""
    suspended = f"; suspended: {', '.join(gitops['suspended'])}" if gitops["suspended"] else ""
    behind = "" if gitops["revision"] == gitops["wanted"] else f"; HEAD is {gitops['wanted'] or 'nothing'}"
    return [
        ["PART", "READY", "WHAT"],
        ["zone", "", status["zone"]],
        ["engine", _yes(engine["state"] == "ok"), f"{engine['version'] or engine['state']} at {engine['endpoint']}"],
        ["cluster", _yes(cluster["ready"]), f"{_called(cluster)}: {nodes or cluster['why']}"],
        ["kubeconfig", _yes(bool(kubeconfig["server"])), f"{kubeconfig['server'] or 'no entry'}{tls}"],
        ["flux", _yes(flux["ready"]), f"{flux['version'] or absent} {parts}".strip()],
        ["gitops", _yes(gitops["ready"]), f"{gitops['revision'] or nothing}{behind}{why}{suspended}"],
        *(["notice", "", f"up is to {sentence}"] for sentence in gitops["replaces"]),
        *(["notice", "", sentence] for sentence in cluster["skew"]),
    ]


def _called(cluster: dict[str, Any]) -> str:
    return f"{cluster['name']}, adopted" if cluster["adopted"] else str(cluster["name"])


def _state(node: dict[str, Any], cluster: dict[str, Any]) -> str:
    if node["name"] in cluster["stopped"]:
        return "stopped"
    return "Ready" if node["ready"] else "NotReady"


def _yes(ready: bool) -> str:
    return "yes" if ready else "no"
