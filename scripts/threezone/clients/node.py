"""A node as the engine shows it: a container with kind's labels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """One node container, as the engine's labels show it."""

    container: str
    name: str
    cluster: str
    role: str
    state: str
    image: str
    ours: bool
    ports: str = ""  # as `docker ps` lists them: nothing while it is stopped
    status: str = ""  # in the engine's words, such as "Up 5 seconds"
    networks: str = ""  # parted by commas

    @property
    def in_kubernetes(self) -> bool:
        """Whether Kubernetes has it as a node: kind's balancer is a container beside them."""
        return self.role in ("control-plane", "worker")

    @property
    def just_started(self) -> bool:
        """Whether it runs for less than a minute, by the engine's own clock (go-units, HumanDuration)."""
        return self.state == "running" and self.status.startswith("Up ") and "second" in self.status
