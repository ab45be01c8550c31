"""The lab that a task works on: frozen data that names it, and its clients, each created on first use.

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
from threezone.cluster.spec import declared as spec
from threezone.cluster.spec.declared import Declared, Overlay
from threezone.cluster.spec.overlay import Options
from threezone.cluster.spec.version_notes import kubeadm_api, version_notes
from threezone.core import names, network_ca, paths, pins, versions
from threezone.core.errors import ClusterError
from threezone.core.events import step
from threezone.core.settings import Channel, Settings
from threezone.engine.find import Engine
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import trust
from threezone.zones.kubeconfig_entry import UserEntry, ca_fingerprint
from threezone.zones.kubeconfig_entry import find as entry_of

CHANNELS: tuple[Literal["release", "source"], ...] = ("release", "source")
# The registries of the node image, and in the cluster of Flux's images; without credentials they answer 401.
REGISTRIES = ("https://registry-1.docker.io/v2/", "https://ghcr.io/v2/")
WAIT_SECONDS = 300.0  # for waits without a setting of their own


@dataclass(frozen=True, eq=False)
class Lab:
    """The project's root, its settings, the cluster's name; or the context of a cluster that is not ours.

    `requested_channel` is the option or the setting, `flags` are the options that change the declared cluster.
    `name_is_chosen` is false where the file of --config names another cluster than the settings do.
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
    def display_name(self) -> str:
        """The cluster's name for a person: kind's, or the foreign context."""
        return self.foreign or self.name

    @property
    def key(self) -> str:
        """The cluster's name in our state (`paths.cluster_dir`)."""
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
        """The requested channel, or the one whose images the engine has already, or the reachable one."""
        if self.requested_channel != "auto":
            return self.requested_channel
        from threezone.images import build
        from threezone.toolchain import channel

        images = build.names_for(self.requested_kubernetes)
        present = next((each for each in CHANNELS if build.has_all(images, each)), None)
        return present or channel.resolve_channel("auto", [*channel.releases(self.root), *REGISTRIES])

    @functools.cached_property
    def tools(self) -> dict[str, Path]:
        """The programs kind, kubectl and flux."""
        from threezone.toolchain import install

        with step("find kind, kubectl and flux") as running:
            tools = install.ensure(("kind", "kubectl", "flux"), self.requested_channel, root=self.root)
            running.result = ", ".join(f"{tool.name} {tool.version}" for tool in tools.values())
        return {name: tool.path for name, tool in tools.items()}

    def tool(self, name: str) -> Path:
        """Another program of the pinned ones, such as sops; got if it is missing."""
        from threezone.toolchain import install

        return install.ensure((name,), self.requested_channel, root=self.root)[name].path

    @functools.cached_property
    def declared(self) -> Declared:
        """The declared cluster: the file, changed by the settings and then by the flags."""
        settings = Options(self.settings.cluster, "invoke.yaml: threezone.cluster.{}", self.root)
        return spec.declare(self.cluster_file, [settings, self.flags] if self.flags else [settings], self.root)

    @property
    def requested_kubernetes(self) -> str:
        """The version that --kubernetes or the settings ask for, else the one in the file's images, else ""."""
        if self.foreign:  # we never create it, so there may be no file
            return ""
        return self.settings.cluster.kubernetes or self.declared.kubernetes

    @functools.cached_property
    def kubernetes(self) -> str:
        """The Kubernetes version of new nodes, such as v1.35.0."""
        from threezone.images.versions import node_for

        return f"v{node_for(self.requested_kubernetes).version}"

    @functools.cached_property
    def images(self) -> tuple[str, ...]:
        """The names of the lab's images, with a balancer for several control planes."""
        from threezone.images import build

        images = build.names_for(self.requested_kubernetes)
        return (*images, build.BALANCER) if self.declared.control_planes > 1 else images

    @functools.cached_property
    def network_ca(self) -> str:
        """The certificates of threezone.network.ca as PEM, for nodes and Flux; "" without the setting."""
        return network_ca.certificates(self.settings.network.ca, self.root)

    @functools.cached_property
    def overlays(self) -> tuple[Overlay, ...]:
        """The additions to the declared file: what this engine needs, a quicker boot, and the settings."""
        minor, kind = versions.parse(self.kubernetes).minor, pins.tools(self.root).kind.version
        needed = spec.overlays(cgroup=self.engine.cgroup, kubernetes_minor=minor)
        quick = boot_tuning.overlay(self.declared, minor, kubeadm_api(kind, minor))
        return (*self.version_notes, *needed, quick, *self.published)

    @functools.cached_property
    def version_notes(self) -> tuple[Overlay, ...]:
        """Sentences without a patch, on what the versions of kind and Kubernetes do to the declared cluster."""
        from threezone.images.versions import kind_of

        kind, minor = pins.tools(self.root).kind.version, versions.parse(self.kubernetes).minor
        image_of = kind_of(self.kubernetes.removeprefix("v"))
        return tuple(map(Overlay, version_notes(self.declared, kind, minor, image_of=image_of)))

    @functools.cached_property
    def published(self) -> tuple[Overlay, ...]:
        """The overlay that publishes the API on the bridge's gateway, if the settings say so."""
        if self.settings.cluster.api == "loopback":
            return ()
        from threezone.cluster.spec import api_endpoint
        from threezone.engine.find import gateway
        from threezone.zones.locate import engine_kind

        kind = engine_kind(self.engine)
        if sys.platform != "linux" and self.engine.local:
            kind = "desktop"  # a local Linux engine on another system runs in a virtual machine
        return (api_endpoint.for_engine(kind, self.declared, gateway),)

    @property
    def api(self) -> Api:
        """The API server by the proved route, as the kubeconfig has it now."""
        return _api(self.context, self.foreign, store.fingerprint())

    @functools.cached_property
    def kind_cluster(self) -> str:
        """The kind cluster whose nodes are on the engine here, and can get images from it; "" if there is none.

        A foreign context is one of kind's if it has kind's name and the CA that kind has for that cluster.
        """
        if not self.foreign:
            return self.name
        from threezone.zones import kind_cluster

        name, entry = names.in_context(self.foreign), entry_of(self.foreign)
        kubeconfig = kind_cluster.observe(name).kubeconfig if name and entry else ""
        return name if entry and kubeconfig and same_authority(entry, kubeconfig) else ""


@functools.lru_cache(maxsize=8)
def _api(context: str, foreign: str, fingerprint: tuple[object, ...]) -> Api:
    """One connection for each state of the kubeconfig files: when a context changes, it gets a new one."""
    del fingerprint  # the cache's key
    if entry := entry_of(context):
        return api_of(entry)
    fix = "kubectl config get-contexts" if foreign else "./run invoke kubeconfig.connect"
    raise ClusterError(f"there is no kubeconfig entry {context}", fix=fix)


def api_of(entry: UserEntry) -> Api:
    """The API server of a kubeconfig entry, with the entry's own credentials. The server is always verified."""
    alone = document.entry(document.Document(entry.kubeconfig), entry.context)
    if alone is None:
        raise ClusterError(f"there is no kubeconfig entry {entry.context}")
    credentials = trust(alone)
    if credentials.unusable:  # without a program, such as a credential plugin
        cluster = {key: value for key, value in alone.cluster.items() if key != "insecure-skip-tls-verify"}
        verified = document.put(document.Document(entry.kubeconfig), "clusters", alone.cluster_name, cluster)
        return Api.by_kubeconfig(verified.data, entry.context)
    access = Access(
        entry.server, credentials.context, entry.tls_server_name, credentials.headers, proxy=credentials.proxy
    )
    return Api.by_access(access)


def same_authority(entry: UserEntry, kubeconfig: str) -> bool:
    """Whether a kubeconfig's text has the entry's CA for the entry's context: then it is the same cluster."""
    other = document.entry(document.parse(kubeconfig.encode(), "kind's kubeconfig"), entry.context)
    own = ca_fingerprint(entry.entry)
    return other is not None and own is not None and own == ca_fingerprint(other)
