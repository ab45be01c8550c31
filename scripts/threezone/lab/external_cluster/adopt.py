"""Adopt an existing cluster: prove a route to it, write that one, record it; and release it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from threezone.clients import kind
from threezone.cluster.lab import api_of, same_authority
from threezone.core import names
from threezone.core.errors import ThreezoneError, UsageError
from threezone.core.events import note
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_server
from threezone.extras.addons import proxy
from threezone.flux import installation
from threezone.kubeconfig import document, store
from threezone.lab.external_cluster import record
from threezone.lab.external_cluster.record import Adopted
from threezone.zones import connect, external_routes, kind_cluster
from threezone.zones.export import tokens
from threezone.zones.kind_cluster import KindCluster
from threezone.zones.kubeconfig_entry import UserEntry, find
from threezone.zones.locate import locate
from threezone.zones.routes import Route


@dataclass(frozen=True)
class Adoption:
    """A context, and the proved route to its cluster; `kind_cluster` where it is one of the engine here."""

    entry: UserEntry
    route: Route
    seconds: float
    known: KindCluster | None = None

    @property
    def entry_works(self) -> bool:
        """Whether the entry itself is that route, so that nothing has to be written."""
        return (self.route.server, self.route.tls_server_name) == (self.entry.server, self.entry.tls_server_name)

    @property
    def sentence(self) -> str:
        """The route for a person."""
        tls = f" (TLS name {self.route.tls_server_name})" if self.route.tls_server_name else ""
        return f"{self.route.server}{tls} proved in {self.seconds:.2f} s"


def entry_of(context: str) -> UserEntry:
    """The user's entry. Raises UsageError when there is none."""
    entry = find(context)
    if entry is None:
        fix = "kubectl config get-contexts"
        if context == "docker-desktop":
            fix = (
                "Docker Desktop writes docker-desktop when Kubernetes is switched on in its settings; in a container "
                "mount the directory ~/.kube of the host"
            )
        contexts = ", ".join(document.items(store.read().document, "contexts")) or "none"
        raise UsageError(f"there is no kubeconfig entry {context}", evidence=f"contexts: {contexts}", fix=fix)
    return entry


def observe(entry: UserEntry, by_hand: tuple[str, str] | None = None) -> Adoption:
    """Prove a route to the entry's cluster. Raises RouteError with every route that was tried; nothing is written."""
    probe = external_routes.probe(entry, locate(), by_hand)
    if (chosen := probe.verdict.chosen) is not None:
        return Adoption(entry, chosen.route, probe.verdict.seconds)
    name = names.in_context(entry.context)
    known = kind_cluster.observe(name) if name and not by_hand else None
    if known is None or known.kubeconfig is None or not same_authority(entry, known.kubeconfig):
        raise external_routes.no_route(entry, probe)
    return Adoption(entry, Route("by kind's kubeconfig", ""), 0.0, known)


def plan(root: Path, adoption: Adoption) -> tuple[Step, ...]:
    """The steps of an adoption. Writing another route into the user's own entry asks.

    Raises UsageError while another cluster is adopted.
    """
    entry, route = adoption.entry, adoption.route
    adopted = record.context(root)
    if adopted not in ("", entry.context):
        raise UsageError(f"the context {adopted} is adopted already", fix="./run invoke cluster.adopt --remove")
    steps = []
    if not adoption.entry_works:
        target = route.server or "the route through kind's network"
        sentence = (
            f"write another route into your kubeconfig entry {entry.context}: {target} instead of "
            f"{entry.server}, which does not lead there from here (cluster.adopt --remove puts it back)"
        )
        command = f"kubectl config set-cluster {entry.entry.cluster_name} --server={route.server} "
        command += f"--tls-server-name={route.tls_server_name}"
        steps.append(Step(StepKind.CONNECT, sentence, command if route.server else "", asks=True))
    if not adopted:
        sentence = f"have the tasks of {root} work with the cluster of the context {entry.context}"
        steps.append(Step(StepKind.ADOPT_CONTEXT, sentence))
    return tuple(steps)


def require_foreign(context: str) -> None:
    """Raise UsageError for a lab of ours: it is used by its name."""
    if not (name := names.in_context(context)):
        return
    try:
        nodes = kind.nodes(name)
    except ThreezoneError:
        return  # without an engine the owner is unknown, and adoption changes nothing in the cluster
    if nodes and nodes[0].ours:
        raise UsageError(
            f"the cluster {name} was made by threezone: it needs no adoption",
            fix=f"--name {name}, or threezone.cluster.name in invoke.yaml",
        )


def apply(root: Path, adoption: Adoption, steps: Sequence[Step]) -> Adoption:
    """Carry the plan out; returns the adoption with the route that is used now."""
    entry = adoption.entry
    before = (entry.server, entry.tls_server_name)
    adopted = record.read(root)
    if adopted is None or adopted.context != entry.context:
        adopted = Adopted(entry.context)
    if any(step.kind is StepKind.CONNECT for step in steps):
        # Recorded first: a route that we write has to be undone later, even if we are killed in between.
        adopted = replace(adopted, before=before if adopted.written != before else adopted.before)
        record.write(root, adopted)
        adoption = _write(adoption)
        adopted = replace(adopted, written=(adoption.route.server, adoption.route.tls_server_name))
    record.write(root, adopted)
    return adoption


def _write(adoption: Adoption) -> Adoption:
    if (known := adoption.known) is not None:
        connected = connect.connect_observed(known)
        route = Route("", connected.server, connected.tls_server_name)
        return replace(adoption, route=route, seconds=connected.seconds)
    name, route = adoption.entry.entry.cluster_name, adoption.route
    store.update(lambda content: document.with_route(content, name, route.server, route.tls_server_name))
    return adoption


def release(root: Path) -> tuple[str, ...]:
    """End the adoption and restore the route in the user's entry. Returns sentences about what of ours remains."""
    adopted = record.read(root)
    if adopted is None:
        return ("no cluster is adopted here",)
    entry = find(adopted.context)
    sentences: list[str] = []
    if entry is not None:
        sentences += _remaining(entry)
        if adopted.before and adopted.written == (entry.server, entry.tls_server_name):
            before, cluster = adopted.before, entry.entry.cluster_name
            store.update(lambda content: document.with_route(content, cluster, *before))
            sentences.insert(0, f"its kubeconfig entry leads to {before[0]} again")
        if adopted.written and (name := names.in_context(adopted.context)):
            connect.leave(name, locate())
    if proxy.stop(adopted.context):
        sentences.append("its proxy is stopped")
    record.forget(root)
    return (f"the cluster of the context {adopted.context} is released", *sentences)


def _remaining(entry: UserEntry) -> list[str]:
    """Our objects that are still in the cluster, with the commands that remove them; none when it does not answer."""
    option = f"--context {entry.context}"
    sentences = []
    try:
        with closing(api_of(entry)) as api:
            if git_server.is_installed(api):
                command = f"./run invoke gitops.serve --remove {option}"
                sentences.append(f"the Git server and what it delivered are still there: {command}")
            if accounts := ", ".join(tokens.ours(api)):
                command = f"./run invoke addon.token --remove {option}"
                sentences.append(f"service accounts for tokens are still there ({accounts}): {command}")
            installed = installation.observe(api)
            if installed is not None and installed.ours:
                command = f"./run invoke flux.uninstall {option}"
                sentences.append(f"Flux, which threezone installed, is still there: {command}")
    except ThreezoneError as error:
        note(error.message)
        return []
    return sentences
