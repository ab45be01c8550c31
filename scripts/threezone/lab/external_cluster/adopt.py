"""Adopt a cluster that is there already: prove the way to it, write that one, remember it; and give it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from threezone.clients import kind
from threezone.clients.kubernetes.api import Api
from threezone.cluster.lab import api_of, same_authority
from threezone.core import names
from threezone.core.errors import ThreezoneError, UsageError
from threezone.core.events import note
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_server
from threezone.extras.addons import proxy
from threezone.flux import installation
from threezone.kubeconfig import document, store
from threezone.lab.external_cluster import record as adopted
from threezone.lab.external_cluster.record import Adopted
from threezone.zones import connect as zone
from threezone.zones import external_routes, kind_cluster
from threezone.zones.export import tokens
from threezone.zones.kind_cluster import KindCluster
from threezone.zones.kubeconfig_entry import UserEntry, find
from threezone.zones.locate import locate
from threezone.zones.routes import Route


@dataclass(frozen=True)
class Found:
    """A context, and the proved way to its cluster. `known` is what the engine here knows of a cluster of kind's."""

    entry: UserEntry
    route: Route
    seconds: float
    known: KindCluster | None = None

    @property
    def as_it_stands(self) -> bool:
        """Whether the entry itself is that way, so that nothing is to be written."""
        return (self.route.server, self.route.tls_server_name) == (self.entry.server, self.entry.tls_server_name)

    @property
    def sentence(self) -> str:
        """The way for a person."""
        tls = f" (TLS name {self.route.tls_server_name})" if self.route.tls_server_name else ""
        return f"{self.route.server}{tls} proved in {self.seconds:.2f} s"


def entry_of(context: str) -> UserEntry:
    """The user's entry. Raises UsageError when there is none, and for a lab of ours, which needs no adoption."""
    entry = find(context)
    if entry is None:
        listed = ", ".join(document.items(store.read().document, "contexts")) or "none"
        raise UsageError(
            f"there is no kubeconfig entry {context}",
            evidence=f"contexts: {listed}",
            fix="Docker Desktop writes docker-desktop when Kubernetes is switched on in its settings; in a container "
            "mount the directory ~/.kube of the host"
            if context == "docker-desktop"
            else "kubectl config get-contexts",
        )
    return entry


def observe(entry: UserEntry, by_hand: tuple[str, str] | None = None) -> Found:
    """Prove a way to the entry's cluster. Raises RouteError with every way that was tried; nothing is written."""
    found = external_routes.probe(entry, locate(), by_hand)
    if (chosen := found.verdict.chosen) is not None:
        return Found(entry, chosen.route, found.verdict.seconds)
    name = names.in_context(entry.context)
    known = kind_cluster.observe(name) if name and not by_hand else None
    if known is None or known.kubeconfig is None or not same_authority(entry, known.kubeconfig):
        raise external_routes.no_route(entry, found)
    return Found(entry, Route("by kind's own knowledge", ""), 0.0, known)


def plan(root: Path, found: Found) -> tuple[Step, ...]:
    """What adoption changes. Writing another way into an entry that is the user's own needs a yes.

    Raises UsageError while another one is adopted.
    """
    held = adopted.context(root)
    if held not in ("", found.entry.context):
        raise UsageError(f"the context {held} is adopted already", fix="./run invoke cluster.adopt --remove")
    actions = []
    if not found.as_it_stands:
        target = found.route.server or "the way through kind's network"
        actions.append(
            Step(
                StepKind.CONNECT,
                f"write another way into your kubeconfig entry {found.entry.context}: {target} instead of "
                f"{found.entry.server}, which does not lead there from here (cluster.adopt --remove puts it back)",
                f"kubectl config set-cluster {found.entry.entry.cluster_name} --server={found.route.server} "
                f"--tls-server-name={found.route.tls_server_name}"
                if found.route.server
                else "",
                asks=True,
            )
        )
    if not held:
        sentence = f"have the tasks of {root} work with the cluster of the context {found.entry.context}"
        actions.append(Step(StepKind.ADOPT_CONTEXT, sentence))
    return tuple(actions)


def require_foreign(context: str) -> None:
    """Raise UsageError for a lab of ours: it is worked with by its name."""
    if not (name := names.in_context(context)):
        return
    try:
        nodes = kind.nodes(name)
    except ThreezoneError:
        return  # without an engine nobody can tell, and nothing is taken from anybody
    if nodes and nodes[0].ours:
        raise UsageError(
            f"the cluster {name} was made by threezone: it needs no adoption",
            fix=f"--name {name}, or threezone.cluster.name in invoke.yaml",
        )


def apply(root: Path, found: Found, actions: Sequence[Step]) -> Found:
    """Carry the plan out; returns the way that is there now."""
    before = (found.entry.server, found.entry.tls_server_name)
    held = adopted.read(root)
    record = held if held is not None and held.context == found.entry.context else Adopted(found.entry.context)
    if any(action.kind is StepKind.CONNECT for action in actions):
        # Written down first: a way that we have put there has to be taken back, whatever happens to us in between.
        record = replace(record, before=before if record.written != before else record.before)
        adopted.write(root, record)
        found = _write(found)
        record = replace(record, written=(found.route.server, found.route.tls_server_name))
    adopted.write(root, record)
    return found


def _write(found: Found) -> Found:
    if found.known is not None:
        made = zone.connect_observed(found.known)
        return replace(found, route=Route("", made.server, made.tls_server_name), seconds=made.seconds)
    name, route = found.entry.entry.cluster_name, found.route
    store.update(lambda content: document.with_route(content, name, route.server, route.tls_server_name))
    return found


def release(root: Path) -> tuple[str, ...]:
    """Give the adopted cluster back: the way in its entry is what it was before. Returns what to know of it now."""
    record = adopted.read(root)
    if record is None:
        return ("no cluster is adopted here",)
    entry = find(record.context)
    told = []
    if entry is not None:
        told = list(_left(entry))
        if record.before and record.written == (entry.server, entry.tls_server_name):
            before = record.before
            cluster = entry.entry.cluster_name
            store.update(lambda content: document.with_route(content, cluster, *before))
            told.insert(0, f"its kubeconfig entry leads to {before[0]} again")
        if record.written and (name := names.in_context(record.context)):
            zone.leave(name, locate())
    if proxy.stop(record.context):
        told.append("its proxy is stopped")
    adopted.forget(root)
    return (f"the cluster of the context {record.context} is given back", *told)


def _left(entry: UserEntry) -> tuple[str, ...]:
    """What of ours is still in the cluster, with the command that takes it away; nothing when it does not answer."""
    try:
        api = api_of(entry)
        try:
            return tuple(_ours(api, entry.context))
        finally:
            api.close()
    except ThreezoneError as error:
        note(error.message)
        return ()


def _ours(api: Api, context: str) -> list[str]:
    told = []
    if git_server.is_installed(api):
        told.append(
            f"the Git server and what it delivered are still there: ./run invoke gitops.serve --remove "
            f"--context {context}"
        )
    if accounts := tokens.ours(api):
        told.append(
            f"service accounts for tokens are still there ({', '.join(accounts)}): ./run invoke addon.token --remove "
            f"--context {context}"
        )
    installed = installation.observe(api)
    if installed is not None and installed.ours:
        told.append(f"Flux, which threezone installed, is still there: ./run invoke flux.uninstall --context {context}")
    return told
