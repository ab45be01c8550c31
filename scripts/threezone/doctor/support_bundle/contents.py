"""The files of a support bundle: each name with the function that gets its text. Each may fail by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

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
_SPEC = ("nodeName", "suspend", "interval", "url", "ref", "path", "sourceRef", "prune", "podCIDR")

Contents = dict[str, Callable[[], str]]


def _output(run: Callable[..., Completed], *arguments: object, **options: object) -> Callable[[], str]:
    """A function that runs a program and returns what it prints."""

    def output() -> str:
        done = run(*arguments, **options)
        return done.stdout + done.stderr

    return output


def engine(name: str) -> Contents:
    """The engine's version and state, and the cluster's containers and network."""
    return {
        "engine/version.txt": _output(docker.version),
        "engine/info.json": _output(docker.info),
        "engine/containers.txt": _output(containers.table, f"label={labels.KIND_CLUSTER}={name}"),
        "engine/network.json": lambda: _json(networks.inspect(kind_network())),
        "engine/disk.txt": _output(docker.disk_usage),
    }


def nodes(name: str) -> Contents:
    """What kind's export leaves out of each node, or cannot reach while the node is stopped."""
    contents: Contents = {}
    nodes = kind.nodes(name)
    for node in nodes:
        directory, container = f"nodes/{node.name}", node.container
        contents[f"{directory}/container.json"] = partial(_container, container)
        contents[f"{directory}/console.txt"] = _output(containers.logs, container, LINES)
        if node.state == "running" and node.role != BALANCER:
            for unit in ("kubelet", "containerd"):
                journal = ("journalctl", "--no-pager", "--unit", unit, "--lines", str(JOURNAL_LINES))
                contents[f"{directory}/{unit}.txt"] = _output(containers.execute, container, *journal, check=False)
    if nodes:
        contents["nodes/inspect.txt"] = lambda: inspect.page(inspect.inspect(nodes))
    return contents


def _container(container: str) -> str:
    return _json(containers.inspect(container))


def threezone(lab: Lab) -> Contents:
    """The status, the plan, and the versions of the tools."""
    from threezone.lab import status, up
    from threezone.lab.observe import observe
    from threezone.toolchain import install

    def plan() -> str:
        planned = up.plan(lab, observe(lab))
        return "\n".join((describe(planned.steps), *planned.notices)) + "\n"

    def tools() -> str:
        found = {name: install.find(name) for name in install.NAMES}
        return _json({name: str(tool.version) if tool else None for name, tool in found.items()})

    return {
        "threezone/status.json": lambda: _json(status.collect(lab)),
        "threezone/plan.txt": plan,
        "threezone/tools.json": tools,
    }


def kubernetes(api: Api) -> Contents:
    """The cluster as its API server shows it: events, nodes, pods, Flux's objects and its controllers' logs."""

    def items(path: str, **query: str) -> list[Json]:
        return (api.get(path, **query) or {}).get("items") or []

    contents: Contents = {
        "kubernetes/events.txt": lambda: events(items("/api/v1/events")),
        "kubernetes/nodes.json": lambda: _json(without_settings(items("/api/v1/nodes"))),
        "kubernetes/pods.json": lambda: _json(without_settings(items("/api/v1/pods"))),
        "flux/objects.json": lambda: _json(without_settings([one.item for one in objects.observe(api)])),
    }
    try:
        controllers = items("/api/v1/pods", labelSelector=_FLUX)
    except ThreezoneError:
        controllers = []
    for pod in controllers:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/log?tailLines={LINES}"
        contents[f"flux/{name}.log"] = partial(api.text, path)
    return contents


def without_settings(items: list[Json]) -> list[Json]:
    """The objects with their names and status, and only the fields of a spec that explain the status. Pure.

    Environments, arguments and annotations are the user's and may hold anything.
    """
    return [
        {
            **{key: item[key] for key in ("apiVersion", "kind") if key in item},
            "metadata": {
                key: value
                for key, value in (item.get("metadata") or {}).items()
                if key not in ("annotations", "managedFields")
            },
            "spec": {key: value for key, value in (item.get("spec") or {}).items() if key in _SPEC},
            "status": item.get("status") or {},
        }
        for item in items
    ]


def events(items: list[Json]) -> str:
    """Events, oldest first, a line each. Pure."""

    def time(event: Json) -> str:
        times = (
            (event.get("series") or {}).get("lastObservedTime"),
            event.get("lastTimestamp"),
            event.get("eventTime"),
        )
        return str(next(filter(None, times), event["metadata"].get("creationTimestamp")))

    lines = []
    for event in sorted(items, key=time):
        item = event.get("involvedObject") or {}
        name = f"{item.get('namespace', '')}/{item.get('name', '')}".strip("/")
        message = str(event.get("message", "")).replace("\n", " ")
        words = (time(event), event.get("type", ""), item.get("kind", ""), name, event.get("reason", ""))
        lines.append(f"{' '.join(words)}: {message}\n")
    return "".join(lines)


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n"
