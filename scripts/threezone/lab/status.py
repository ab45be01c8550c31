"""status: the observation, for people and for programs. Changes nothing and needs nothing to be well."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from threezone.cluster.lab import Lab
from threezone.engine.find import observe as observe_engine
from threezone.lab import plan, versions
from threezone.lab.observe import Seen, observe
from threezone.zones.locate import locate


def collect(lab: Lab) -> dict[str, Any]:
    """The lab as data; its keys are an interface."""
    seen = observe(lab)
    engine = observe_engine()
    return {
        "zone": locate().kind,
        "engine": {
            "state": engine.state,
            "endpoint": engine.endpoint,
            "version": engine.version,
            "cgroup": engine.cgroup,
        },
        "cluster": {
            "name": lab.called,
            "adopted": bool(lab.foreign),
            "kubernetes": seen.kubernetes or None,
            "nodes": [asdict(node) | {"ready": node.ready and node.name not in seen.stopped} for node in seen.nodes],
            "stopped": list(seen.stopped),
            "answers": bool(seen.nodes),
            "ready": seen.nodes_ready,
            "why": why(seen, adopted=bool(lab.foreign)),
            "skew": list(versions.seen_apart(lab, seen)),
        },
        "kubeconfig": {
            "context": lab.context if seen.server else None,
            "server": seen.server or None,
            "tlsServerName": seen.tls_server_name or None,
        },
        "flux": {
            "version": seen.flux.version or None,
            "ready": seen.flux.ready,
            "components": [asdict(component) for component in seen.flux.components],
        },
        "gitops": {
            "url": seen.delivery.url if seen.delivery else None,
            "revision": seen.delivery.applied if seen.delivery else None,
            "ready": plan.is_delivered(lab, seen),
            "wanted": plan.revision(lab, seen) or None,
            "why": seen.delivery.message if seen.delivery and not seen.delivery.ready else None,
            "suspended": list(seen.delivery.suspended) if seen.delivery else [],
        },
    }


def why(seen: Seen, *, adopted: bool = False) -> str | None:
    """Why the cluster is not ready, in one sentence; None when it is."""
    if seen.nodes_ready:
        return None
    return seen.unreachable or _not_ready(seen) if adopted else _why_ours(seen)  # no engine is asked for its nodes


def _why_ours(seen: Seen) -> str:
    if seen.engine_trouble is not None:
        return seen.engine_trouble.message
    if not seen.containers:
        return "there is no such cluster"
    if seen.stopped:
        return f"not running: {', '.join(seen.stopped)}" + _answers(seen)
    if not seen.containers[0].ours:
        return "this cluster was not made by threezone"
    return seen.unreachable or _not_ready(seen)


def _not_ready(seen: Seen) -> str:
    if seen.not_back:
        more = f" and {len(seen.not_back) - 1} more" if len(seen.not_back) > 1 else ""
        return f"restarted a moment ago, waiting for {seen.not_back[0]}{more}"
    return "not Ready: " + ", ".join(node.name for node in seen.nodes if not node.ready)


def _answers(seen: Seen) -> str:
    """What is left of a cluster in which something does not run: whether its API answers all the same."""
    if not seen.nodes:
        return ""
    planes = [node for node in seen.containers if node.role == "control-plane"]
    left = [node.name for node in planes if node.name not in seen.stopped]
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
