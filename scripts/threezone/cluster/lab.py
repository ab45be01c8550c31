"""What the steps of a task share while they run. What needs little of it pays for little: imports stand inside."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from threezone.clients.kubernetes.api import Api
from threezone.cluster.lab import Lab
from threezone.cluster.spec import boot_tuning
from threezone.cluster.spec import declared as declared_room
from threezone.cluster.spec.declared import Declared, Overlay
from threezone.cluster.spec.overlay import Options
from threezone.core.errors import ClusterError
from threezone.core.events import step
from threezone.core.settings import Channel
from threezone.engine.find import Engine
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import material
from threezone.lab.observe import api_of
from threezone.zones import certificate
from threezone.zones.connect import Current
from threezone.zones.connect import find as entry_of

MADE: tuple[Literal["release", "source"], ...] = ("release", "source")
# Where the node image, and in the cluster Flux's images, are pulled from; without credentials they answer 401.
REGISTRIES = ("https://registry-1.docker.io/v2/", "https://ghcr.io/v2/")
GENTLE_SECONDS = 300.0  # for what has no time of its own in the settings


class Session:
    """What the steps share while they run: tools, channel and the API connection, each made when first needed."""

    def __init__(self, lab: Lab, channel: Channel, flags: Options | None = None) -> None:
        self.lab = lab
        self.flags = flags
        self.asked = channel
        self.inside: frozenset[str] = frozenset()  # images that every node has, where a step has just made them
        self.fresh = ""  # the kubeconfig that kind has just written, with keys
        self.to_reach = False  # whether a step has waited for a Git server that Flux may not reach yet
        self.started: Mapping[str, datetime] = {}  # when the engine started each node, where a step has just asked
        self.retain = False  # whether the nodes of a failed create are kept for a look

    @functools.cached_property
    def engine(self) -> Engine:
        """The working engine."""
        from threezone.engine.find import observe, require

        return require(observe())

    @functools.cached_property
    def channel(self) -> Literal["release", "source"]:
        """Where images come from: by hand, or the channel whose images the engine has already, or by reachability."""
        if self.asked != "auto":
            return self.asked
        from threezone.images import build
        from threezone.toolchain import channel as reach

        names = build.names_for(self.asked_kubernetes)
        for made in MADE:
            if build.has_all(names, made):
                return made
        return reach.resolve_channel("auto", [*reach.releases(self.lab.root), *REGISTRIES])

    @functools.cached_property
    def tools(self) -> dict[str, Path]:
        """The programs kind, kubectl and flux."""
        from threezone.toolchain import install

        with step("find kind, kubectl and flux") as running:
            found = install.ensure(("kind", "kubectl", "flux"), self.asked, root=self.lab.root)
            running.result = ", ".join(f"{tool.name} {tool.version}" for tool in found.values())
        return {name: tool.path for name, tool in found.items()}

    @functools.cached_property
    def declared(self) -> Declared:
        """The declared cluster: the file, and what the settings and then the flags lay upon it."""
        chosen = self.lab.settings.cluster
        settings = Options(
            source="invoke.yaml: threezone.cluster.{}",
            control_planes=chosen.control_planes,
            workers=chosen.workers,
            ports=chosen.ports,
            mounts=chosen.mounts,
            base=self.lab.root,
        )
        options = [settings, self.flags] if self.flags else [settings]
        return declared_room.declare(self.lab.cluster_file, options, self.lab.root)

    @property
    def asked_kubernetes(self) -> str:
        """The version that --kubernetes or the settings ask for, else the one that the file's images name, else ""."""
        if self.lab.foreign:  # there is nothing that we would create, and so perhaps no file
            return ""
        return self.lab.settings.cluster.kubernetes or self.declared.kubernetes

    @functools.cached_property
    def kubernetes(self) -> str:
        """The Kubernetes version that nodes shall run, such as v1.35.0."""
        from threezone.images.versions import node_for

        return f"v{node_for(self.asked_kubernetes).version}"

    @functools.cached_property
    def images(self) -> tuple[str, ...]:
        """The lab's images, as `images.build` names them; with a balancer where several control planes are declared."""
        from threezone.images import build

        names = build.names_for(self.asked_kubernetes)
        return (*names, build.BALANCER) if self.declared.control_planes > 1 else names

    @functools.cached_property
    def overlays(self) -> tuple[Overlay, ...]:
        """What is added to the declared file: what this engine needs, what is quicker, and what the settings say."""
        minor = int(self.kubernetes.split(".")[1])
        needed = declared_room.overlays(cgroup=self.engine.cgroup, kubernetes_minor=minor)
        return (*needed, boot_tuning.overlay(self.declared, minor), *self.published)

    @functools.cached_property
    def published(self) -> tuple[Overlay, ...]:
        """What publishes the API on the bridge's gateway, where the settings say so."""
        if self.lab.settings.cluster.api == "loopback":
            return ()
        from threezone.cluster.spec import api_endpoint
        from threezone.engine.find import gateway
        from threezone.zones.locate import engine_kind

        kind = engine_kind(self.engine)
        if sys.platform != "linux" and self.engine.local:
            kind = "desktop"  # whatever it calls itself: a Linux engine on another system is in a virtual machine
        return (api_endpoint.for_engine(kind, self.declared, gateway),)

    @functools.cached_property
    def api(self) -> Api:
        """The API server by the proved route."""
        entry = entry_of(self.lab.context)
        if entry is None:
            raise ClusterError(
                f"there is no kubeconfig entry {self.lab.context}",
                fix="kubectl config get-contexts" if self.lab.foreign else "./run invoke kubeconfig.connect",
            )
        return api_of(entry)

    @functools.cached_property
    def kind_cluster(self) -> str:
        """The kind cluster whose nodes the engine here has, and can be given images; "" when it has none of them.

        A foreign context is one of kind's when it is named so and has the CA that kind has for that cluster.
        """
        if not self.lab.foreign:
            return self.lab.name
        from threezone.zones.discovery import look

        name = self.lab.foreign.removeprefix("kind-")
        if name == self.lab.foreign:
            return ""
        known = look(name)
        entry = entry_of(self.lab.foreign)
        return name if entry and known.kubeconfig and same_authority(entry, known.kubeconfig) else ""


def same_authority(entry: Current, kubeconfig: str) -> bool:
    """Whether a kubeconfig's text trusts the entry's CA for the entry's context: then it is the same cluster."""
    fresh = document.entry(document.parse(kubeconfig.encode(), "kind's kubeconfig"), entry.context)
    if fresh is None:
        return False
    ours, theirs = (
        certificate.fingerprint(material(each, "certificate-authority", Path(), entry.context))
        for each in (entry.entry.cluster, fresh.cluster)
    )
    return ours is not None and ours == theirs
