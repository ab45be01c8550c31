"""The lab that a task works on: frozen data about which one it is, and its clients, each made when first needed.

Every function below the tasks gets it; none sets anything on it. Dependencies are loaded lazily.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from threezone.clients.kubernetes.api import Access, Api
from threezone.cluster.spec import boot_tuning
from threezone.cluster.spec import declared as declared_room
from threezone.cluster.spec.declared import Declared, Overlay
from threezone.cluster.spec.overlay import Options
from threezone.core import names, paths, versions
from threezone.core.errors import ClusterError
from threezone.core.events import step
from threezone.core.settings import Channel, Settings
from threezone.engine.find import Engine
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import material, trust
from threezone.zones import certificate
from threezone.zones.kubeconfig_entry import UserEntry
from threezone.zones.kubeconfig_entry import find as entry_of

MADE: tuple[Literal["release", "source"], ...] = ("release", "source")
# Where the node image, and in the cluster Flux's images, are pulled from; without credentials they answer 401.
REGISTRIES = ("https://registry-1.docker.io/v2/", "https://ghcr.io/v2/")
GENTLE_SECONDS = 300.0  # for what has no time of its own in the settings


@dataclass(frozen=True, eq=False)
class Lab:
    """Which lab: the project's root, its settings, the cluster's name; or a context of a cluster that is not ours.

    `requested_channel` is the option or the setting, `flags` are the options that change the declared cluster.
    `name_is_chosen` is false where the file that --config names is of another cluster, and nobody said which is meant.
    """

    root: Path
    settings: Settings
    name: str
    foreign: str = ""
    requested_channel: Channel = "auto"
    flags: Options | None = None
    name_is_chosen: bool = True

    @property
    def context(self) -> str:
        """The kubeconfig context of the cluster, as kind names it, or the foreign one."""
        return self.foreign or f"kind-{self.name}"

    @property
    def called(self) -> str:
        """The cluster's name for a person: kind's, or the foreign context."""
        return self.foreign or self.name

    @property
    def key(self) -> str:
        """What names this cluster in our state (`paths.cluster_dir`)."""
        return f"{paths.FOREIGN}{self.foreign}" if self.foreign else self.name

    @property
    def cluster_file(self) -> Path:
        """The file, in kind's own format, that declares the cluster."""
        return self.root / self.settings.cluster.config

    @functools.cached_property
    def engine(self) -> Engine:
        """The working engine."""
        from threezone.engine.find import observe, require

        return require(observe())

    @functools.cached_property
    def channel(self) -> Literal["release", "source"]:
        """Where images come from: by hand, or the channel whose images the engine has already, or by reachability."""
        if self.requested_channel != "auto":
            return self.requested_channel
        from threezone.images import build
        from threezone.toolchain import channel as reach

        names = build.names_for(self.asked_kubernetes)
        for made in MADE:
            if build.has_all(names, made):
                return made
        return reach.resolve_channel("auto", [*reach.releases(self.root), *REGISTRIES])

    @functools.cached_property
    def tools(self) -> dict[str, Path]:
        """The programs kind, kubectl and flux."""
        from threezone.toolchain import install

        with step("find kind, kubectl and flux") as running:
            found = install.ensure(("kind", "kubectl", "flux"), self.requested_channel, root=self.root)
            running.result = ", ".join(f"{tool.name} {tool.version}" for tool in found.values())
        return {name: tool.path for name, tool in found.items()}

    @functools.cached_property
    def declared(self) -> Declared:
        """The declared cluster: the file, and what the settings and then the flags lay upon it."""
        chosen = self.settings.cluster
        settings = Options(
            source="invoke.yaml: threezone.cluster.{}",
            control_planes=chosen.control_planes,
            workers=chosen.workers,
            ports=chosen.ports,
            mounts=chosen.mounts,
            base=self.root,
        )
        options = [settings, self.flags] if self.flags else [settings]
        return declared_room.declare(self.cluster_file, options, self.root)

    @property
    def asked_kubernetes(self) -> str:
        """The version that --kubernetes or the settings ask for, else the one that the file's images name, else ""."""
        if self.foreign:  # there is nothing that we would create, and so perhaps no file
            return ""
        return self.settings.cluster.kubernetes or self.declared.kubernetes

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
        minor = versions.parse(self.kubernetes).minor
        needed = declared_room.overlays(cgroup=self.engine.cgroup, kubernetes_minor=minor)
        return (*needed, boot_tuning.overlay(self.declared, minor), *self.published)

    @functools.cached_property
    def published(self) -> tuple[Overlay, ...]:
        """What publishes the API on the bridge's gateway, where the settings say so."""
        if self.settings.cluster.api == "loopback":
            return ()
        from threezone.cluster.spec import api_endpoint
        from threezone.engine.find import gateway
        from threezone.zones.locate import engine_kind

        kind = engine_kind(self.engine)
        if sys.platform != "linux" and self.engine.local:
            kind = "desktop"  # whatever it calls itself: a Linux engine on another system is in a virtual machine
        return (api_endpoint.for_engine(kind, self.declared, gateway),)

    @property
    def api(self) -> Api:
        """The API server by the proved route, as the kubeconfig has it now."""
        return _api(self.context, self.foreign, store.fingerprint())

    @functools.cached_property
    def kind_cluster(self) -> str:
        """The kind cluster whose nodes the engine here has, and can be given images; "" when it has none of them.

        A foreign context is one of kind's when it is named so and has the CA that kind has for that cluster.
        """
        if not self.foreign:
            return self.name
        from threezone.zones import kind_cluster

        if not (name := names.in_context(self.foreign)):
            return ""
        known = kind_cluster.observe(name)
        entry = entry_of(self.foreign)
        return name if entry and known.kubeconfig and same_authority(entry, known.kubeconfig) else ""


@functools.lru_cache(maxsize=8)
def _api(context: str, foreign: str, fingerprint: tuple[object, ...]) -> Api:
    """One connection for each state of the kubeconfig files: a context that is written anew gets a new one."""
    del fingerprint  # it is the cache's key
    entry = entry_of(context)
    if entry is None:
        raise ClusterError(
            f"there is no kubeconfig entry {context}",
            fix="kubectl config get-contexts" if foreign else "./run invoke kubeconfig.connect",
        )
    return api_of(entry)


def api_of(entry: UserEntry) -> Api:
    """The API server that a kubeconfig entry leads to, with the entry's own credentials."""
    alone = document.entry(document.Document(entry.kubeconfig), entry.context)
    if alone is None or "proxy-url" in alone.cluster:
        return Api.by_kubeconfig(entry.kubeconfig, entry.context)
    known = trust(alone)
    if known.unusable:  # by looking alone: a credential plugin, say
        return Api.by_kubeconfig(entry.kubeconfig, entry.context)
    return Api.by_access(Access(entry.server, known.context, entry.tls_server_name, known.headers))


def same_authority(entry: UserEntry, kubeconfig: str) -> bool:
    """Whether a kubeconfig's text trusts the entry's CA for the entry's context: then it is the same cluster."""
    fresh = document.entry(document.parse(kubeconfig.encode(), "kind's kubeconfig"), entry.context)
    if fresh is None:
        return False
    ours, theirs = (
        certificate.fingerprint(material(each, "certificate-authority", Path(), entry.context))
        for each in (entry.entry.cluster, fresh.cluster)
    )
    return ours is not None and ours == theirs
