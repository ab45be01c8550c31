"""Export a kubeconfig for another place: observe the cluster, prove a route from there, write the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from threezone.clients.kind import BALANCER
from threezone.clients.kubernetes.api import Access, Api
from threezone.core.errors import ClusterError, EngineError, RouteError, UsageError
from threezone.core.events import note, step
from threezone.core.files import is_stream
from threezone.engine import find
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import trust
from threezone.kubeconfig.document import Document, Entry
from threezone.zones import kind_cluster, kubeconfig_entry, probe
from threezone.zones.diagnostics import no_route
from threezone.zones.export import content, in_container_probe, picker, tokens
from threezone.zones.export import path as paths
from threezone.zones.export.targets import ANY, TARGETS, Offer, Site, Target, offer
from threezone.zones.kind_cluster import KindCluster
from threezone.zones.locate import kind_network
from threezone.zones.prove import prove
from threezone.zones.routes import Route

_STATES = {"proved": "proved", "failed": "does not work", "untried": "NOT PROVED"}


@dataclass(frozen=True)
class ExportOptions:
    """The user's options. `role` and `hours` are for the token; without `proof` the file is written unproved.

    `account` is an existing service account, NAMESPACE/NAME: the token and the namespace in the file are its own.
    """

    name: str
    target: str
    output: str = ""
    token: bool = False
    hours: int = 1
    role: str = "cluster-admin"
    server: str = ""
    proof: bool = True
    account: str = ""

    @property
    def namespace(self) -> str:
        """The namespace in the file's contexts; "" for none."""
        return self.account.partition("/")[0]

    @property
    def path(self) -> Path:
        """The file to write."""
        return Path(self.output) if self.output else paths.default(self.name, self.target, job=bool(self.account))

    @property
    def context(self) -> str:
        """The name of the file's context."""
        return f"kind-{self.name}"


@dataclass(frozen=True)
class Way:
    """A place with its route, and the result of its proof."""

    offer: Offer
    route: Route
    state: Literal["proved", "failed", "untried"]
    result: str

    @property
    def line(self) -> str:
        """Server and result, for a person."""
        return f"{self.route.server}: {self.result}"


@dataclass(frozen=True)
class Exported:
    """The file that was written."""

    path: Path
    context: str
    ways: tuple[Way, ...]
    left_out: tuple[Way, ...]
    credential: str
    picker: Path | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """For a person: the proved routes, where the file works and where not, and its login."""
        lines = []
        for way in self.ways:
            lines.append(f"{way.offer.target}: {way.route.server} {_STATES[way.state]} ({way.result})")
            lines.append(f"  it works {way.offer.works}")
            lines.append(f"  it does not work {way.offer.fails}")
        for way in self.left_out:
            obstacle = f" ({way.offer.obstacle})" if way.offer.obstacle else ""
            lines.append(f"{way.offer.target}: left out, {way.line}{obstacle}")
        lines.append(f"login: {self.credential}")
        if self.picker is not None:
            lines.append(
                f"on the other machine: ./run invoke kubeconfig.pick --file {self.path} points {self.context} at the "
                f"route that works there; with kubectl alone: sh {self.picker}"
            )
        return tuple(lines)


@dataclass(frozen=True)
class _Login:
    cluster: Mapping[str, Any] = field(repr=False)
    user: Mapping[str, Any] = field(repr=False)
    sentence: str = ""


def export(options: ExportOptions) -> Exported:
    """Write the kubeconfig for another place.

    Raises UsageError for impossible options, ClusterError for a cluster that is gone, and RouteError when no route is
    proved there: then nothing is written.
    """
    targets = _targets(options)
    path = paths.guard(options.path, options.context)
    with_picker = options.target == "any" and not is_stream(path)
    if with_picker:
        picker.guard(path)
    cluster = kind_cluster.observe(options.name)
    entry = _entry(cluster)
    site = _site(cluster, entry)
    login = _login(options, cluster, entry)
    ways = _prove(options, cluster, login, [offer(target, site, options.server) for target in targets])
    usable = tuple(way for way in ways if way.state == "proved" or not options.proof)
    if not usable:
        raise _nothing_proved(options, ways)
    file = _file(options, login, usable[0].route)
    if options.target == "any":
        routes = [(way.offer.target, way.route) for way in usable]
        file = content.any_file(options.context, login.cluster, login.user, routes, options.namespace)
    paths.write(path, file)
    script = picker.write(path, file, options.context) if with_picker else None
    left_out = tuple(way for way in ways if way not in usable)
    return Exported(path, options.context, usable, left_out, login.sentence, script)


def _file(options: ExportOptions, login: _Login, route: Route) -> Document:
    return content.file(options.context, login.cluster, login.user, route, options.namespace)


def _targets(options: ExportOptions) -> tuple[Target, ...]:
    if options.target == "any":
        if options.server:
            raise UsageError("--server is one address, but a file for any place has one address for each place")
        return ANY
    targets = tuple(target for target in TARGETS if target == options.target)
    if not targets:
        raise UsageError(
            f"--for {options.target!r} is not a place; expected one of {', '.join(TARGETS)}, any",
            fix="./run invoke --help kubeconfig.export",
        )
    return targets


def _entry(cluster: KindCluster) -> Entry:
    """Return kind's entry for the cluster, or the user's own entry without an engine."""
    context = f"kind-{cluster.name}"
    if cluster.kubeconfig is not None:
        entry = document.entry(document.parse(cluster.kubeconfig.encode(), "kind's kubeconfig"), context)
        if entry is not None:
            return entry
    user_entry = kubeconfig_entry.find(context)
    if user_entry is None or cluster.missing is not None:
        raise cluster.error or ClusterError(f"kind's kubeconfig has no context {context}")
    note("no engine answers here: your own entry is exported")
    return user_entry.entry


def _site(cluster: KindCluster, entry: Entry) -> Site:
    gateway = ""
    if cluster.kubeconfig is not None:
        try:
            gateway = find.gateway()
        except EngineError as error:
            note(error.message)
    balanced = any(node.role == BALANCER for node in cluster.nodes)
    return Site(cluster.name, entry.server, cluster.zone.engine, kind_network(), gateway, balanced)


def _login(options: ExportOptions, cluster: KindCluster, entry: Entry) -> _Login:
    if not (options.token or options.account):
        inline, user = content.identity(entry)
        kind = "the entry's own token" if "token" in user else "the administrator's client certificate and key"
        return _Login(inline, user, f"{kind}: whoever has this file controls the cluster")
    with step(f"ask the cluster {options.name} for a token") as running:
        verdict = probe.probe(options.name, cluster.kubeconfig, zone=cluster.zone).verdict
        if verdict.chosen is None:
            raise no_route(options.name, cluster.zone, verdict)
        route, credentials = verdict.chosen.route, trust(entry)
        api = Api.by_access(Access(route.server, credentials.context, route.tls_server_name, credentials.headers))
        try:
            if options.account:
                namespace, _, account = options.account.partition("/")
                token = tokens.issue(api, namespace, account, options.hours)
            else:
                token = tokens.request(api, options.role, options.hours)
        finally:
            api.close()
        running.result = f"until {token.ends}"
    inline, user = content.identity(Entry(entry.context, "", "", "", entry.cluster, {"token": token.value}))
    return _Login(inline, user, tokens.sentence(token, "" if options.account else f" with the role {options.role}"))


def _prove(options: ExportOptions, cluster: KindCluster, login: _Login, offers: Sequence[Offer]) -> list[Way]:
    """Try the routes of every place in its zone, best first. Places are tried in parallel."""
    if not options.proof:
        return [Way(place, place.routes[0], "untried", "because of --no-proof") for place in offers]

    def prove_place(place: Offer) -> Way:
        ways = (_try(cluster, place, route, _file(options, login, route)) for route in place.routes)
        way = next(ways)
        while way.state != "proved" and (following := next(ways, None)):
            way = following
        return way

    names = ", ".join(place.target for place in offers)
    with step(f"try the route for {names}") as running, ThreadPoolExecutor(len(offers)) as pool:
        ways = list(pool.map(prove_place, offers))
        running.result = ", ".join(f"{way.offer.target} {_STATES[way.state]}" for way in ways)
    return ways


def _try(cluster: KindCluster, place: Offer, route: Route, file: Document) -> Way:
    zone = cluster.zone
    entry = document.entry(file, document.current_context(file))
    if entry is not None and place.target == "host" and zone.kind == "host" and zone.engine != "remote":
        proof = prove([route], trust(entry)).proofs[0]
        if not proof.ok:
            return Way(place, route, "failed", f"from here: {proof.why}")
        return Way(place, route, "proved", f"from here in {proof.seconds:.2f} s")
    image = next((node.image for node in cluster.nodes if node.role == "control-plane"), "")
    if not image:
        return Way(place, route, "untried", "no engine here can start a container in that zone to try it")
    answer = in_container_probe.probe(file, image, place.network, mapped=place.mapped)
    result = f"kubectl in a container on the network {place.network} in {answer.seconds:.1f} s: {answer.words}"
    return Way(place, route, "proved" if answer.ok else "failed", result)


def _nothing_proved(options: ExportOptions, ways: list[Way]) -> RouteError:
    offers = [way.offer for way in ways if way.offer.obstacle]
    obstacle, fix = "is not proved", ""
    if offers and any(way.state == "failed" for way in ways):
        obstacle, fix = f"would not work: {offers[0].obstacle}", offers[0].fix
    return RouteError(
        f"a kubeconfig for {options.target} {obstacle}; none was written",
        evidence="\n".join(way.line for way in ways),
        fix=fix
        or f"./run invoke kubeconfig.export --for {options.target} --name {options.name} --no-proof writes it anyway",
    )
