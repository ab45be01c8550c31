"""What settings and flags lay upon the declared file: each change knows where it comes from. Pure.

Mappings merge, lists append, single values replace; the plan shows every one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from threezone.cluster.spec.decode import Draft, Place, Spot, draft, hint, scalar, shown
from threezone.cluster.spec.schema import CLUSTER, CONTROL_PLANE, NODE, WORKER, Names, Scalar
from threezone.cluster.spec.validate import is_everywhere, loopback
from threezone.core import safe_yaml
from threezone.core.errors import UsageError

_PORT = re.compile(r"(?:(?P<address>\[[^\]]+\]|[0-9.]+):)?(?P<host>\d+):(?P<inner>\d+)(?:/(?P<protocol>\w+))?")
_OF_NODE = re.compile(r"nodes\[(\d+)\]\.(.+)")


FLAGS = "--{}"


@dataclass(frozen=True)
class Options:
    """What settings or flags ask for. Counts of 0 leave the file's nodes; the texts are as they were typed.

    `source` names where the options come from: `--{}` for flags, `invoke.yaml: threezone.cluster.{}` for settings.
    `base` is what relative paths of mounts start from.
    """

    source: str = FLAGS
    control_planes: int = 0
    workers: int = 0
    ports: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    feature_gates: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    base: Path = Path()

    def place(self, flag: str, value: object) -> Place:
        """Where an option stands, as one finds it: `--port 8080:80`, `invoke.yaml: threezone.cluster.ports 8080:80`."""
        keys = {"control-planes": "control_planes", "port": "ports", "mount": "mounts"}
        return Place(f"{self.source.format(flag if self.source == FLAGS else keys.get(flag, flag))} {value}")


def settings_overlay(text: str, path: Path) -> Draft | None:
    """`threezone.cluster.overlay` of the settings file, read by the same table as kind's own; None without one."""
    node = next(iter(safe_yaml.compose_all(text)), None)
    keys = ("threezone", "cluster", "overlay")
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
        return None
    return draft(node, str(path), keys)


def lay(base: Draft, over: Draft) -> list[str]:
    """Lay one piece of kind's configuration upon another; returns a sentence for each thing that it says."""
    if "nodes" in over.content:
        nodes(base)
    return _merge(base.content, base.spots, over.content, over.spots, ())


def _merge(base: Any, spots: Spot, over: Any, theirs: Spot, keys: tuple[str | int, ...]) -> list[str]:
    said = []
    if not isinstance(spots.below, dict):
        spots.below = {}
    for key, value in over.items():
        spot = theirs.below[key] if isinstance(theirs.below, dict) else theirs
        here = (*keys, key)
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            said += _merge(base[key], spots.below[key], value, spot, here)
        elif isinstance(value, list) and isinstance(base.get(key), list):
            said += [f"{shown(*here)}: {_brief(item)} is added ({spot.at(i)})" for i, item in enumerate(value)]
            base[key] = [*base[key], *value]
            before = spots.below[key].below
            spots.below[key].below = [*(before if isinstance(before, list) else ()), *_spots(spot)]
        else:
            said.append(_replaced(here, base.get(key), value, spot.place))
            base[key] = value
            spots.below[key] = spot
    return said


def _spots(spot: Spot) -> list[Spot]:
    return spot.below if isinstance(spot.below, list) else []


def _replaced(keys: Iterable[str | int], before: object, value: object, place: Place) -> str:
    instead = f" instead of {_brief(before)}" if before is not None and before != value else ""
    return f"{shown(*keys)}: {_brief(value)}{instead} ({place})"


def _brief(value: object) -> str:
    """A value in a line of the plan."""
    if isinstance(value, bool):
        return str(value).lower()
    told = (
        value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    )
    text = " ".join(told.removesuffix("...\n").split())
    return text if len(text) <= 80 else text[:77] + "…"  # noqa: PLR2004  what fits into a line beside its place


def nodes(base: Draft) -> tuple[list[dict[str, Any]], list[Spot]]:
    """The nodes of a draft and their places; kind's default node is written out for it."""
    assert isinstance(base.spots.below, dict)  # noqa: S101  a file is a mapping
    if not base.content.get("nodes"):
        base.content["nodes"] = [{"role": CONTROL_PLANE}]
        base.spots.below["nodes"] = Spot(base.spots.place, [Spot(base.spots.place, {})])
    spot = base.spots.below["nodes"]
    assert isinstance(spot.below, list)  # noqa: S101
    return base.content["nodes"], spot.below


def apply(base: Draft, options: Options) -> list[str]:
    """Lay options upon a draft, in the order of the class; returns a sentence for each change."""
    said = []
    for name, role, count in (
        ("control-planes", CONTROL_PLANE, options.control_planes),
        ("workers", WORKER, options.workers),
    ):
        if count:
            said += _count(base, role, count, options.place(name, count))
    for text in options.sets:
        said.append(_set(base, text, options.place("set", text)))
    for text in options.feature_gates:
        name, _, value = text.partition("=")
        place = options.place("feature-gate", text)
        if value.lower() not in ("true", "false"):
            raise UsageError(f"{place}: expected a name and true or false, such as AllAlpha=true")
        made = {"featureGates": {name: value.lower() == "true"}}
        said += lay(base, Draft(made, _placed(made, place)))
    for text in options.ports:
        said.append(_port(base, text, options.place("port", text)))
    for text in options.mounts:
        said.append(_mount(base, text, options.place("mount", text), options.base))
    return said


def _placed(value: Any, place: Place) -> Spot:
    """Places for data that stands in one place as a whole."""
    if isinstance(value, dict):
        return Spot(place, {key: _placed(each, place) for key, each in value.items()})
    return Spot(place, [_placed(each, place) for each in value]) if isinstance(value, list) else Spot(place)


def _append(content: dict[str, Any], spots: Spot, key: str, value: Any, place: Place) -> None:
    if not isinstance(spots.below, dict):
        spots.below = {}
    below = _spots(spots.below[key]) if content.get(key) else []
    content[key] = [*(content.get(key) or []), value]
    spots.below[key] = Spot(spots.below[key].place if below else place, [*below, _placed(value, place)])


def _count(base: Draft, role: str, count: int, place: Place) -> list[str]:
    if count < 0:
        raise UsageError(f"{place}: expected a number of nodes, 0 for those of the file")
    declared, spots = nodes(base)
    mine = [index for index, node in enumerate(declared) if node.get("role", CONTROL_PLANE) == role]
    if len(mine) == count:
        return []
    for index in reversed(mine[count:]):
        del declared[index], spots[index]
    for _ in range(count - len(mine)):
        declared.append({"role": role})
        spots.append(_placed({"role": role}, place))
    return [f"nodes: {count} of role {role} instead of {len(mine)} ({place})"]


def _port(base: Draft, text: str, place: Place) -> str:
    found = _PORT.fullmatch(text)
    if found is None:
        raise UsageError(f"{place}: expected HOST:NODE, such as 8080:80, 127.0.0.2:8080:80 or 5353:53/udp")
    address = (found["address"] or "").strip("[]") or loopback(base.content)
    if is_everywhere(address):
        raise UsageError(
            f"{place}: expected one address, but {address} is every address of the machine",
            fix="if that is meant, say it in kind's own file: extraPortMappings with this listenAddress",
        )
    port = {"containerPort": int(found["inner"]), "hostPort": int(found["host"]), "listenAddress": address}
    if found["protocol"]:
        choice = CLUSTER["nodes"][0]["extraPortMappings"][0]["protocol"]
        if found["protocol"].upper() not in choice.choices:
            raise UsageError(f"{place}: expected {choice.expected} as the protocol, found {found['protocol']!r}")
        port["protocol"] = found["protocol"].upper()
    declared, spots = nodes(base)
    first = next((i for i, node in enumerate(declared) if node.get("role", CONTROL_PLANE) == CONTROL_PLANE), 0)
    _append(declared[first], spots[first], "extraPortMappings", port, place)
    host = f"[{address}]" if ":" in address else address
    where = f"{host}:{port['hostPort'] or 'a free port'}"
    return f"nodes[{first}].extraPortMappings: {where} leads to port {found['inner']} of the node ({place})"


def _mount(base: Draft, text: str, place: Place, root: Path) -> str:
    host, _, rest = text.partition(":")
    inner, _, mode = rest.partition(":")
    if not host or not inner or mode not in ("", "ro", "rw"):
        raise UsageError(f"{place}: expected HOST:NODE or HOST:NODE:ro, two paths such as ./data:/data")
    mount: dict[str, Any] = {"hostPath": str(root / Path(host).expanduser()), "containerPath": inner}
    if mode == "ro":
        mount["readOnly"] = True
    for node, spots in zip(*nodes(base), strict=True):
        _append(node, spots, "extraMounts", dict(mount), place)
    return f"extraMounts of every node: {mount['hostPath']} at {inner}{', read-only' * (mode == 'ro')} ({place})"


def _set(base: Draft, text: str, place: Place) -> str:
    """One value set by its field: `networking.ipFamily=ipv6`, `nodes[0].labels.tier=front`."""
    field, sign, value = text.partition("=")
    if not sign:
        raise UsageError(f"{place}: expected FIELD=VALUE, such as networking.ipFamily=ipv6")
    content, spots, table = base.content, base.spots, CLUSTER
    keys: tuple[str | int, ...] = ()
    if found := _OF_NODE.fullmatch(field):
        declared, places = nodes(base)
        number, field = int(found[1]), found[2]
        if number >= len(declared):
            raise UsageError(f"{place}: there are {len(declared)} nodes, and the first is nodes[0]")
        content, spots, table, keys = declared[number], places[number], NODE, ("nodes", number)
    first, _, rest = field.partition(".")
    wanted = table.get(first)
    if isinstance(wanted, Names):
        wanted = wanted.of
    elif isinstance(wanted, dict) and rest:
        table, wanted = wanted, wanted.get(rest)
        if wanted is None:
            raise UsageError(f"{place}: unknown field {shown(*keys, first)}.{rest}{hint(rest, table)}")
    if wanted is None:
        raise UsageError(f"{place}: unknown field {shown(*keys, first)}{hint(first, table)}")
    if not isinstance(wanted, Scalar):
        raise UsageError(
            f"{place}: {shown(*keys, first)} is no single value",
            fix="lay it upon the file with threezone.cluster.overlay",
        )
    made: Any = scalar(value, wanted, field, place)
    over = {first: {rest: made}} if rest else {first: made}
    return _merge(content, spots, over, _placed(over, place), keys)[0]
