"""Export a kubeconfig for another zone: what is known here, the ways that are offered, a proof of each, the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from threezone.clients.kind import BALANCER
from threezone.clients.kubernetes.api import Access, Api
from threezone.core.errors import EngineError, RouteError, ThreezoneError, UsageError
from threezone.core.events import note, step
from threezone.core.files import is_stream
from threezone.engine import find
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import trust
from threezone.kubeconfig.document import Document, Entry
from threezone.zones import kind_cluster, kubeconfig_entry, probe
from threezone.zones.diagnostics import no_route
from threezone.zones.export import path as place
from threezone.zones.export import picker, tokens
from threezone.zones.export.in_container_probe import witness
from threezone.zones.export.offer import ANY, TARGETS, Offer, Site, Target, any_file, file, identity, offer
from threezone.zones.kind_cluster import KindCluster
from threezone.zones.locate import kind_network
from threezone.zones.prove import prove
from threezone.zones.routes import Route

_STATES = {"proved": "proved", "failed": "leads nowhere", "untried": "NOT PROVED"}


@dataclass(frozen=True)
class Wanted:
    """What the user asks for. `role` and `hours` are for the token; without `proof` the file is written unproved.

    `account` is a service account, NAMESPACE/NAME, that is there: the token is its own, and so is the file's namespace.
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
        """The namespace that the file's contexts name; "" for none."""
        return self.account.partition("/")[0]

    @property
    def path(self) -> Path:
        """Where the file goes."""
        return Path(self.output) if self.output else place.default(self.name, self.target, job=bool(self.account))


@dataclass(frozen=True)
class Way:
    """A way in the file, or one that was left out: its offer, its route, whether it is proved, and what was seen."""

    offer: Offer
    route: Route
    state: Literal["proved", "failed", "untried"]
    seen: str


@dataclass(frozen=True)
class Exported:
    """The file that was written, with what to say about it."""

    path: Path
    context: str
    ways: tuple[Way, ...]
    left_out: tuple[Way, ...]
    credential: str
    picker: Path | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """For a person: what was proved, where the file works and where not, how it logs in."""
        lines = []
        for way in self.ways:
            lines.append(f"{way.offer.target}: {way.route.server} {_STATES[way.state]} ({way.seen})")
            lines.append(f"  it works {way.offer.works}")
            lines.append(f"  it does not work {way.offer.fails}")
        lines += [f"{way.offer.target}: left out, {_why(way)}" for way in self.left_out]
        lines.append(f"login: {self.credential}")
        if self.picker is not None:
            lines.append(
                f"for the place where you stand: ./run invoke kubeconfig.pick --file {self.path} points {self.context} "
                f"at the way that leads from there; with kubectl alone: sh {self.picker}"
            )
        return tuple(lines)


@dataclass(frozen=True)
class _Login:
    cluster: Mapping[str, Any] = field(repr=False)
    user: Mapping[str, Any] = field(repr=False)
    sentence: str = ""


def export(wanted: Wanted) -> Exported:
    """Write the kubeconfig for another zone.

    Raises UsageError for what cannot be asked, ClusterError for a cluster that is gone, and RouteError when no way is
    proved there: then nothing is written.
    """
    targets = _targets(wanted)
    context = f"kind-{wanted.name}"
    path = place.guard(wanted.path, context)
    with_picker = wanted.target == "any" and not is_stream(path)
    if with_picker:
        picker.guard(path)
    known = kind_cluster.observe(wanted.name)
    entry = _entry(wanted.name, known)
    site = _site(wanted.name, known, entry)
    login = _login(wanted, known, entry)
    ways = _prove(wanted, known, login, [offer(target, site, wanted.server) for target in targets])
    good = tuple(way for way in ways if way.state == "proved" or not wanted.proof)
    if not good:
        raise _nowhere(wanted, ways)
    if wanted.target == "any":
        ways_in = [(way.offer.target, way.route) for way in good]
        content = any_file(wanted.name, login.cluster, login.user, ways_in, wanted.namespace)
    else:
        content = _file(wanted, login, good[0].route)
    place.write(path, content)
    beside = picker.write(path, content, context) if with_picker else None
    return Exported(path, context, good, tuple(way for way in ways if way not in good), login.sentence, beside)


def _file(wanted: Wanted, login: _Login, route: Route) -> Document:
    return file(wanted.name, login.cluster, login.user, route, wanted.namespace)


def _targets(wanted: Wanted) -> tuple[Target, ...]:
    if wanted.server and wanted.target == "any":
        raise UsageError("--server is one address, and a file for any place has one for each of them")
    if wanted.target == "any":
        return ANY
    found = tuple(target for target in TARGETS if target == wanted.target)
    if not found:
        raise UsageError(
            f"--for {wanted.target!r} is no place; expected one of {', '.join(TARGETS)}, any",
            fix="./run invoke --help kubeconfig.export",
        )
    return found


def _entry(name: str, known: KindCluster) -> Entry:
    """What kind has for the cluster, or without an engine the user's own entry."""
    if known.kubeconfig is not None:
        fresh = document.entry(document.parse(known.kubeconfig.encode(), "kind's kubeconfig"), f"kind-{name}")
        if fresh is not None:
            return fresh
    own = kubeconfig_entry.find(f"kind-{name}")
    if own is None or known.missing is not None:
        raise known.error or UsageError(f"kind's kubeconfig has no context kind-{name}")
    note("no engine answers here: your own entry is exported")
    return own.entry


def _site(name: str, known: KindCluster, entry: Entry) -> Site:
    gateway = ""
    if known.kubeconfig is not None:
        try:
            gateway = find.gateway()
        except EngineError as error:
            note(error.message)
    return Site(
        name,
        entry.server,
        known.zone.engine,
        kind_network(),
        gateway,
        balanced=any(node.role == BALANCER for node in known.nodes),
    )


def _login(wanted: Wanted, known: KindCluster, entry: Entry) -> _Login:
    if not (wanted.token or wanted.account):
        cluster, user = identity(entry)
        kind = (
            "the administrator's client certificate and key" if "client-key-data" in user else "the entry's own token"
        )
        return _Login(cluster, user, f"{kind}: whoever has the file has the cluster")
    with step(f"ask the cluster {wanted.name} for a token") as running:
        found = probe.probe(wanted.name, known.kubeconfig, zone=known.zone).verdict
        if found.chosen is None:
            raise no_route(wanted.name, known.zone, found)
        way, credentials = found.chosen.route, trust(entry)
        api = Api.by_access(Access(way.server, credentials.context, way.tls_server_name, credentials.headers))
        try:
            if wanted.account:
                namespace, _, account = wanted.account.partition("/")
                token = tokens.issue(api, namespace, account, wanted.hours)
            else:
                token = tokens.request(api, wanted.role, wanted.hours)
        finally:
            api.close()
        running.result = f"until {token.ends}"
    cluster, _ = identity(Entry(entry.context, "", "", "", entry.cluster, {"token": token.value}))
    role = "" if wanted.account else f" with the role {wanted.role}"
    return _Login(cluster, {"token": token.value}, tokens.sentence(token, role))


def _prove(wanted: Wanted, known: KindCluster, login: _Login, offers: Sequence[Offer]) -> list[Way]:
    """Every offer's routes tried in its zone, best first; all zones at once."""
    if not wanted.proof:
        return [Way(made, made.routes[0], "untried", "as asked with --no-proof") for made in offers]

    def prove_one(made: Offer) -> Way:
        seen = Way(made, made.routes[0], "untried", "")
        for route in made.routes:
            seen = _try(known, made, route, _file(wanted, login, route))
            if seen.state == "proved":
                break
        return seen

    names = ", ".join(made.target for made in offers)
    with step(f"try the way for {names}") as running, ThreadPoolExecutor(len(offers)) as pool:
        ways = list(pool.map(prove_one, offers))
        running.result = ", ".join(f"{way.offer.target} {_STATES[way.state]}" for way in ways)
    return ways


def _try(known: KindCluster, made: Offer, route: Route, content: Document) -> Way:
    if made.target == "host" and known.zone.kind == "host" and known.zone.engine != "remote":
        (context,) = document.items(content, "contexts")
        entry = document.entry(content, context)
        verdict = prove([route], trust(entry)) if entry else None
        proof = verdict.proofs[0] if verdict else None
        if proof is None or not proof.ok:
            return Way(made, route, "failed", f"from here: {proof.why if proof else 'no entry'}")
        return Way(made, route, "proved", f"from here in {proof.seconds:.2f} s")
    image = next((node.image for node in known.nodes if node.role == "control-plane"), "")
    if not image:
        return Way(made, route, "untried", "no engine here could start a container in that zone to try it")
    found = witness(content, image, made.network, mapped=made.mapped)
    seen = f"kubectl in a container on the network {made.network} in {found.seconds:.1f} s: {found.words}"
    return Way(made, route, "proved" if found.ok else "failed", seen)


def _why(way: Way) -> str:
    return f"{way.route.server}: {way.seen}" + (f" ({way.offer.trap})" if way.offer.trap else "")


def _nowhere(wanted: Wanted, ways: list[Way]) -> ThreezoneError:
    tried = any(way.state == "failed" for way in ways)
    trap, cure = next(((way.offer.trap, way.offer.cure) for way in ways if way.offer.trap and tried), ("", ""))
    again = (
        f"./run invoke kubeconfig.export --for {wanted.target} --name {wanted.name} --no-proof writes it all the same"
    )
    return RouteError(
        f"a kubeconfig for {wanted.target} {f'would not work: {trap}' if trap else 'is not proved'}; none was written",
        evidence="\n".join(f"{way.route.server}: {way.seen}" for way in ways),
        fix=cure or again,
    )
