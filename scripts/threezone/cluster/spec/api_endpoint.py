"""Where the API server is published: on 127.0.0.1, or by choice on the bridge's gateway. Pure.

On a native Linux engine a container that goes through `host-gateway` finds nothing of what is published on 127.0.0.1.
The gateway of the engine's default bridge is an address of the engine's machine that every container reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from threezone.clients.kind import BALANCER, Node
from threezone.cluster.spec.declared import Declared, Overlay
from threezone.cluster.spec.validate import is_everywhere
from threezone.core.errors import EngineError, UsageError
from threezone.zones.locate import EngineKind

SETTING = "threezone.cluster.api"
_BACK = f"set {SETTING}: loopback in invoke.yaml"

# Docker's filters say who else can come in: from 28.0 on they drop what a neighbour sends to ports of 127.0.0.1 and to
# containers' own addresses (moby#49325). The bridge's own address is neither (moby#52224 would add it).
_OPENS = (
    "this opens the port to every container of the engine, and to neighbours on its network segment who route to the "
    "bridge through its machine; credentials are needed as before"
)
# A team shares one invoke.yaml: where a virtual machine does by itself what the setting is for, nothing is refused.
DESKTOP = Overlay(
    f"the API stays on 127.0.0.1 though {SETTING} is gateway: this engine is in a virtual machine, whose bridge is no "
    "address of this machine, and its containers reach 127.0.0.1 of it by the name host.docker.internal anyway"
)


def for_engine(kind: EngineKind, declared: Declared, gateway: Callable[[], str]) -> Overlay:
    """What the setting comes to on an engine of this kind; `gateway` asks the engine for its bridge's.

    Raises EngineError where nothing can be published there, UsageError when the file says otherwise.
    """
    if kind == "desktop":
        return DESKTOP
    if kind == "rootless":
        raise EngineError(
            f"{SETTING} is gateway, but the engine is rootless, and its bridge is in a network namespace of its own, "
            "where nothing can be published",
            fix=f"{_BACK}, and attach containers to kind's network: docker network connect kind CONTAINER",
        )
    return on_gateway(declared, gateway(), remote=kind == "remote")


def on_gateway(declared: Declared, gateway: str, *, remote: bool = False) -> Overlay:
    """What publishes the API on `gateway`, with the sentence on what that opens.

    Without an engine the gateway is "": what comes back then is for the plan's words alone.
    `remote`: the engine is on another machine, and so is the address. Raises UsageError when the file says otherwise.
    """
    own = declared.own_address
    if own and gateway and own != gateway:
        raise UsageError(
            f"{declared.path} publishes the API on networking.apiServerAddress {own}, but {SETTING} in invoke.yaml is "
            f"gateway, which is {gateway} here",
            fix=f"remove apiServerAddress from {declared.path}, or {_BACK}",
        )
    if is_everywhere(gateway):
        raise EngineError(f"the engine names {gateway} as its bridge's gateway: this is every address", fix=_BACK)
    where = f"on {gateway}, the gateway of the engine's bridge" if gateway else "on the gateway of the engine's bridge"
    far = " It is an address of the engine's machine: from here the way is a tunnel." if remote else ""
    return Overlay(
        f"the API is published {where}, and not on 127.0.0.1 ({SETTING} is gateway): {_OPENS}.{far}",
        api_address=gateway or "the gateway",
    )


def elsewhere(nodes: Sequence[Node], wanted: str) -> str:
    """The sentence for a running cluster whose API is published on another address than `wanted`; "" when it is not.

    kind cannot move a published port (kind#2720), for the engine cannot.
    """
    # With several control planes the balancer is what is published; they have a random port of 127.0.0.1 beside it.
    balancers = [node for node in nodes if node.role == BALANCER]
    found = [place.address for node in balancers or nodes for place in node.api]
    if not found or wanted in found:
        return ""
    return (
        f"the API is published on {found[0]}, not on {wanted} as it is declared now; a published port cannot be moved, "
        "so that takes a new cluster: ./run invoke up --recreate"
    )
