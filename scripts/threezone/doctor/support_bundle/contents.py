"""The pieces of an archive of logs: what each is called, and how it is had. Each may fail by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from threezone.clients import kind
from threezone.clients.docker import containers, networks
from threezone.clients.docker import engine as docker
from threezone.clients.kind import BALANCER
from threezone.clients.kubernetes.api import Api, Json
from threezone.cluster import inspect
from threezone.cluster.lab import Lab
from threezone.core import labels
from threezone.core.errors import ThreezoneError
from threezone.core.plan import describe
from threezone.core.process import Completed
from threezone.flux import objects
from threezone.zones.locate import kind_network

LINES = 2000  # of each container's log, the newest
JOURNAL_LINES = 5000
_FLUX = "app.kubernetes.io/part-of=flux"

Piece = Callable[[], str]


def _output(ask: Callable[[], Completed]) -> str:
    done = ask()
    return done.stdout + done.stderr


def _inspected(container: str) -> str:
    return _json(containers.inspect(container))


def engine(name: str) -> dict[str, Piece]:
    """Of the engine: who it is, and the cluster's containers and network."""
    label = f"label={labels.KIND_CLUSTER}={name}"
    return {
        "engine/version.txt": partial(_output, docker.version),
        "engine/info.json": partial(_output, docker.info),
        "engine/containers.txt": partial(_output, partial(containers.table, label)),
        "engine/network.json": lambda: _json(networks.inspect(kind_network())),
        "engine/disk.txt": partial(_output, docker.disk_usage),
    }


def nodes(name: str) -> dict[str, Piece]:
    """The pieces of each node that kind's export leaves out, or does not reach while the node is stopped."""
    found: dict[str, Piece] = {}
    nodes = kind.nodes(name)
    for node in nodes:
        at = f"nodes/{node.name}"
        found[f"{at}/container.json"] = partial(_inspected, node.container)
        found[f"{at}/console.txt"] = partial(_output, partial(containers.logs, node.container, LINES))
        if node.state == "running" and node.role != BALANCER:
            for unit in ("kubelet", "containerd"):
                journal = ("journalctl", "--no-pager", "--unit", unit, "--lines", str(JOURNAL_LINES))
                found[f"{at}/{unit}.txt"] = partial(
                    _output, partial(containers.execute, node.container, *journal, check=False)
                )
    if nodes:
        found["nodes/inspect.txt"] = lambda: inspect.page(inspect.inspect(nodes))
    return found


def ours(lab: Lab) -> dict[str, Piece]:
    """Of threezone: what it sees, what it would do, and with which tools."""
    from threezone.lab import status, up
    from threezone.lab.observe import observe
    from threezone.toolchain import install

    def planned() -> str:
        plan = up.plan(lab, observe(lab))
        return "\n".join((describe(plan.steps), *plan.notices)) + "\n"

    return {
        "threezone/status.json": lambda: _json(status.collect(lab)),
        "threezone/plan.txt": planned,
        "threezone/tools.json": lambda: _json(
            {n: str(t.version) if (t := install.find(n)) else None for n in install.NAMES}
        ),
    }


def kubernetes(api: Api) -> dict[str, Piece]:
    """Of the cluster by its API server: events, nodes, pods, Flux's objects and its controllers' logs."""
    found: dict[str, Piece] = {
        "kubernetes/events.txt": lambda: events((api.get("/api/v1/events") or {}).get("items") or []),
        "kubernetes/nodes.json": lambda: _json(bare((api.get("/api/v1/nodes") or {}).get("items") or [])),
        "kubernetes/pods.json": lambda: _json(bare((api.get("/api/v1/pods") or {}).get("items") or [])),
        "flux/objects.json": lambda: _json(bare([one.item for one in objects.observe(api)])),
    }
    try:
        controllers = (api.get("/api/v1/pods", labelSelector=_FLUX) or {}).get("items") or []
    except ThreezoneError:
        controllers = []
    for pod in controllers:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/log?tailLines={LINES}"
        found[f"flux/{meta['name']}.log"] = partial(api.text, path)
    return found


def bare(items: list[Json]) -> list[Json]:
    """Objects with what tells of their state: names and conditions, and of a spec only where things stand. Pure.

    Environments, arguments and annotations are the user's and may hold anything.
    """
    kept = ("nodeName", "suspend", "interval", "url", "ref", "path", "sourceRef", "prune", "podCIDR")
    return [
        {
            **{key: item[key] for key in ("apiVersion", "kind") if key in item},
            "metadata": {
                key: value
                for key, value in (item.get("metadata") or {}).items()
                if key not in ("annotations", "managedFields")
            },
            "spec": {key: value for key, value in (item.get("spec") or {}).items() if key in kept},
            "status": item.get("status") or {},
        }
        for item in items
    ]


def events(items: list[Json]) -> str:
    """Events, oldest first, a line each. Pure."""

    def at(event: Mapping[str, Any]) -> str:
        series = event.get("series") or {}
        return str(
            series.get("lastObservedTime")
            or event.get("lastTimestamp")
            or event.get("eventTime")
            or event["metadata"].get("creationTimestamp")
        )

    lines = []
    for event in sorted(items, key=at):
        of = event.get("involvedObject") or {}
        where = f"{of.get('namespace', '')}/{of.get('name', '')}".strip("/")
        words = str(event.get("message", "")).replace("\n", " ")
        lines.append(
            f"{at(event)} {event.get('type', '')} {of.get('kind', '')} {where} {event.get('reason', '')}: {words}"
        )
    return "".join(f"{line}\n" for line in lines)


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n"
