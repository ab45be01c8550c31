"""The address where the API server is published: 127.0.0.1, or with a setting the bridge's gateway. Pure.

On a native Linux engine a container that uses `host-gateway` does not reach what is published on 127.0.0.1. The gateway
of the engine's default bridge is an address of the engine's machine that every container reaches.
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

# Docker's filters decide who else gets in: from 28.0 on they drop what a neighbour sends to ports of 127.0.0.1 and to
# containers' own addresses (moby#49325). The bridge's own address is neither (moby#52224 would add it).
_OPENS = (
    "this opens the port to every container of the engine, and to neighbours on its network segment who route to the "
    "bridge through its machine; credentials are needed as before"
)
# A team shares one invoke.yaml. Containers of a virtual machine reach the API without the setting: it is accepted.
DESKTOP = Overlay(
    f"the API stays on 127.0.0.1 although {SETTING} is gateway: this engine runs in a virtual machine, so its bridge "
    "is not an address of this machine; containers reach 127.0.0.1 of this machine as host.docker.internal"
)


def for_engine(kind: EngineKind, declared: Declared, gateway: Callable[[], str]) -> Overlay:
    """The effect of the setting on an engine of this kind; `gateway` asks the engine for its bridge's.

    Raises EngineError where nothing can be published there, UsageError when the file declares another address.
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
    """The overlay that publishes the API on `gateway`, with a sentence on what that opens.

    Without an engine the gateway is "", and the overlay is only for the plan's text.
    `remote`: the engine is on another machine. Raises UsageError when the file declares another address.
    """
    own = declared.own_address
    if own and gateway and own != gateway:
        raise UsageError(
            f"{declared.path} publishes the API on networking.apiServerAddress {own}, but {SETTING} in invoke.yaml is "
            f"gateway, which is {gateway} here",
            fix=f"remove apiServerAddress from {declared.path}, or {_BACK}",
        )
    if is_everywhere(gateway):
        raise EngineError(f"the engine names {gateway} as its bridge's gateway: that means every address", fix=_BACK)
    where = f"on {gateway}, the gateway of the engine's bridge" if gateway else "on the gateway of the engine's bridge"
    tunnel = " It is an address of the engine's machine: from here the route is a tunnel." if remote else ""
    return Overlay(
        f"the API is published {where}, and not on 127.0.0.1 ({SETTING} is gateway): {_OPENS}.{tunnel}",
        api_address=gateway or "the gateway",
    )


def other_address_notice(nodes: Sequence[Node], wanted: str) -> str:
    """A sentence for a running cluster that publishes its API on another address than `wanted`; "" otherwise.

    Neither kind nor the engine can move a published port (kind#2720).
    """
    # With several control planes the balancer publishes the API; they have a random port of 127.0.0.1 beside it.
    balancers = [node for node in nodes if node.role == BALANCER]
    addresses = [published.address for node in balancers or nodes for published in node.api]
    if not addresses or wanted in addresses:
        return ""
    return (
        f"the API is published on {addresses[0]}, not on {wanted} which is declared now; a published port cannot be "
        "moved, so that needs a new cluster: ./run invoke up --recreate"
    )
