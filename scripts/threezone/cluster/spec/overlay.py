"""The changes that settings and flags make to the declared file, each with its source. Pure.

Mappings merge, lists append, single values replace; the plan shows each change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from threezone.cluster.spec.decode import Draft, Keys, Place, Spot, draft, option, shown
from threezone.cluster.spec.schema import CLUSTER, CONTROL_PLANE, NODE, WORKER
from threezone.cluster.spec.validate import is_everywhere, loopback
from threezone.core import safe_yaml
from threezone.core.errors import UsageError
from threezone.core.settings import ClusterOptions
from threezone.core.settings import options as declared_options

_PORT = re.compile(
    r"(?:(?P<address>\[[^\]]+\]|[0-9.]+):)?(?P<host>\d+):(?P<inner>\d+)(?:/(?P<protocol>tcp|udp|sctp))?", re.IGNORECASE
)
_OF_NODE = re.compile(r"nodes\[(\d+)\]\.(.+)")
FLAGS = "--{}"
OVERLAY = ("threezone", "cluster", "overlay")  # in the settings file


@dataclass(frozen=True)
class Options:
    """The options of settings or flags, as they were typed. Counts of 0 keep the file's nodes.

    `source` is the form of their names: `--{}` for flags, `invoke.yaml: threezone.cluster.{}` for settings.
    `base` is the directory for relative paths of mounts.
    """

    given: ClusterOptions
    source: str = FLAGS
    base: Path = Path()

    def place(self, field: str, value: object) -> Place:
        """An option as one finds it: `--port 8080:80`, `invoke.yaml: threezone.cluster.ports 8080:80`."""
        name = declared_options(ClusterOptions)[field].flag if self.source == FLAGS else field
        return Place(f"{self.source.format(name)} {value}")


def settings_overlay(text: str, path: Path) -> Draft | None:
    """`threezone.cluster.overlay` of the settings file, decoded by the same table as kind's file; None without one."""
    node = next(iter(safe_yaml.compose_all(text)), None)
    for key in OVERLAY:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
        return None
    return draft(node, str(path), OVERLAY)


def lay(base: Draft, over: Draft) -> list[str]:
    """Lay one piece of kind's configuration over another; returns a sentence for each change."""
    if "nodes" in over.content:
        nodes(base)
    return _merge(base.content, base.spots, over.content, over.spots, ())


def _merge(base: dict[str, Any], spots: Spot, over: dict[str, Any], over_spots: Spot, keys: Keys) -> list[str]:
    changes = []
    for key, value in over.items():
        spot, before, field = over_spots.below[key], base.get(key), (*keys, key)
        if isinstance(value, dict) and isinstance(before, dict):
            changes += _merge(before, spots.below[key], value, spot, field)
        elif isinstance(value, list) and isinstance(before, list):
            for index, item in enumerate(value):
                changes.append(f"{shown(*field)}: {_brief(item)} is added ({spot.at(index)})")
                spots.below[key].below[len(before) + index] = spot.below[index]
            base[key] = [*before, *value]
        else:
            instead = f" instead of {_brief(before)}" if before is not None and before != value else ""
            changes.append(f"{shown(*field)}: {_brief(value)}{instead} ({spot.place})")
            base[key], spots.below[key] = value, spot
    return changes


def _brief(value: object) -> str:
    """A value in a line of the plan."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        value = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False).removesuffix("...\n")
    text = " ".join(value.split())
    return text if len(text) <= 80 else text[:77] + "…"  # noqa: PLR2004  fits into a line beside its place


def nodes(base: Draft) -> list[dict[str, Any]]:
    """The nodes of a draft; kind's default node is added to a draft without any."""
    if not base.content.get("nodes"):
        base.content["nodes"] = [{"role": CONTROL_PLANE}]
        base.spots.below["nodes"] = Spot(base.spots.place, {0: Spot(base.spots.place)})
    return list(base.content["nodes"])


def apply(base: Draft, options: Options) -> list[str]:
    """Apply options to a draft, in the order of the class; returns a sentence for each change."""
    changes = []
    given = options.given
    for field, role in (("control_planes", CONTROL_PLANE), ("workers", WORKER)):
        if count := getattr(given, field):
            changes += _count(base, role, count, options.place(field, count))
    for text in given.sets:
        example = "FIELD=VALUE, such as networking.ipFamily=ipv6"
        changes += _set(base, text, options.place("sets", text), example)
    for text in given.feature_gates:
        example = "a name and true or false, such as AllAlpha=true"
        changes += _set(base, f"featureGates.{text}", options.place("feature_gates", text), example)
    for text in given.ports:
        changes.append(_port(base, text, options.place("ports", text)))
    for text in given.mounts:
        changes.append(_mount(base, text, options.place("mounts", text), options.base))
    return changes


def _spots(value: Any, place: Place) -> Spot:
    """The spots of a value that comes from one place as a whole."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return Spot(place, {key: _spots(item, place) for key, item in pairs})


def _append(base: Draft, index: int, key: str, value: dict[str, Any], place: Place) -> None:
    """Append a value to a list of a node."""
    over = {key: [value]}
    _merge(base.content["nodes"][index], base.spots.below["nodes"].below[index], over, _spots(over, place), ())


def _count(base: Draft, role: str, count: int, place: Place) -> list[str]:
    if count < 0:
        raise UsageError(f"{place}: expected a number of nodes, 0 for those of the file")
    declared = nodes(base)
    spots = base.spots.below["nodes"]
    of_role = [index for index, node in enumerate(declared) if node.get("role", CONTROL_PLANE) == role]
    if len(of_role) == count:
        return []
    kept = [index for index in range(len(declared)) if index not in of_role[count:]]
    new: list[dict[str, Any]] = [{"role": role} for _ in range(count - len(of_role))]
    base.content["nodes"] = [declared[index] for index in kept] + new
    spots.below = dict(enumerate([spots.below[index] for index in kept] + [_spots(node, place) for node in new]))
    return [f"nodes: {count} of role {role} instead of {len(of_role)} ({place})"]


def _port(base: Draft, text: str, place: Place) -> str:
    match = _PORT.fullmatch(text)
    if match is None:
        raise UsageError(f"{place}: expected HOST:NODE, such as 8080:80, 127.0.0.2:8080:80, 5353:53/udp or 80:80/sctp")
    address = (match["address"] or "").strip("[]") or loopback(base.content)
    if is_everywhere(address):
        raise UsageError(
            f"{place}: expected one address, but {address} is every address of the machine",
            fix="if that is meant, declare it in kind's own file: extraPortMappings with this listenAddress",
        )
    port = {"containerPort": int(match["inner"]), "hostPort": int(match["host"]), "listenAddress": address}
    if match["protocol"]:
        port["protocol"] = match["protocol"].upper()
    roles = [node.get("role", CONTROL_PLANE) for node in nodes(base)]
    first = roles.index(CONTROL_PLANE) if CONTROL_PLANE in roles else 0
    _append(base, first, "extraPortMappings", port, place)
    host = f"[{address}]" if ":" in address else address
    published = f"{host}:{port['hostPort'] or 'a free port'}"
    return f"nodes[{first}].extraPortMappings: {published} leads to port {match['inner']} of the node ({place})"


def _mount(base: Draft, text: str, place: Place, root: Path) -> str:
    host, _, rest = text.partition(":")
    inner, _, mode = rest.partition(":")
    if not host or not inner or mode not in ("", "ro", "rw"):
        raise UsageError(f"{place}: expected HOST:NODE or HOST:NODE:ro, two paths such as ./data:/data")
    mount: dict[str, Any] = {"hostPath": str(root / Path(host).expanduser()), "containerPath": inner}
    if mode == "ro":
        mount["readOnly"] = True
    for index in range(len(nodes(base))):
        _append(base, index, "extraMounts", dict(mount), place)
    return f"extraMounts of every node: {mount['hostPath']} at {inner}{', read-only' * (mode == 'ro')} ({place})"


def _set(base: Draft, text: str, place: Place, example: str) -> list[str]:
    """Set one value by its field: `networking.ipFamily=ipv6`, `nodes[0].labels.tier=front`."""
    field, sign, value = text.partition("=")
    if not sign:
        raise UsageError(f"{place}: expected {example}")
    content, spots, table = base.content, base.spots, CLUSTER
    prefix: Keys = ()
    if match := _OF_NODE.fullmatch(field):
        declared, index = nodes(base), int(match[1])
        if index >= len(declared):
            raise UsageError(f"{place}: there are {len(declared)} nodes, and the first is nodes[0]")
        content, spots, table = declared[index], base.spots.below["nodes"].below[index], NODE
        prefix, field = ("nodes", index), match[2]
    over = option(field, value, str(place), prefix, table)
    if over.content in ({}, {field.partition(".")[0]: {}}):  # an empty value where kind knows a few words
        raise UsageError(f"{place}: expected {example}")
    return _merge(content, spots, over.content, over.spots, prefix)
