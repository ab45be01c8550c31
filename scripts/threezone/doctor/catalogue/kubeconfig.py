"""Rows about the kubeconfig and the route to the API server."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import timedelta

from threezone.core.plan import Step, StepKind
from threezone.doctor.catalogue.engine import DOWN
from threezone.doctor.catalogue.engine import KIND_ISSUES as _KIND
from threezone.doctor.facts import Facts
from threezone.doctor.row import Evidence, Row, when

CONNECT = "./run invoke kubeconfig.connect"
BREAK = f"{CONNECT} --break-lock"
OLD_LOCK = 10.0  # seconds; kubectl holds its lock for milliseconds
CLUSTER_DOWN = (
    "cluster-absent", "cluster-stopped", "cluster-paused", "cluster-interrupted", "cluster-busy", "cluster-restarting",
)  # fmt: skip
KUBECONFIG = "https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/"


def connect(facts: Facts) -> tuple[Step, ...]:
    """The step that proves a route and writes the entry; none for a context that is not kind's."""
    if facts.subject.foreign:
        return ()
    sentence = f"prove a route and write the entry {facts.subject.context}"
    return (Step(StepKind.CONNECT, sentence, CONNECT + facts.subject.option),)


def _fix(facts: Facts) -> str:
    if facts.subject.foreign:
        return f"kubectl --context {shlex.quote(facts.subject.context)} cluster-info"
    return CONNECT + facts.subject.option


def _lock(facts: Facts) -> Evidence | None:
    locks = [(path, age) for path, age in (facts.kubeconfig.locks if facts.kubeconfig else ()) if age > OLD_LOCK]
    if not locks:
        return None
    lines = tuple(f"{path} is {age:.0f} s old" for path, age in locks)
    step = Step(StepKind.REMOVE_LOCK, f"remove {', '.join(path for path, _ in locks)}", BREAK, asks=True)
    return Evidence(lines, steps=(step,))


def _broken(facts: Facts) -> Evidence | None:
    problem = facts.kubeconfig.problem if facts.kubeconfig else ""
    return when(problem, *problem.splitlines()[:3])


def _dangling(facts: Facts) -> Evidence | None:
    lines = facts.kubeconfig.dangling if facts.kubeconfig else ()
    own = any(f"the context {facts.subject.context} " in line for line in lines)
    return when(lines, *lines, fix=_fix(facts) if own else "", steps=connect(facts) if own else ())


def _different(facts: Facts) -> Evidence | None:
    lines = facts.kubeconfig.different if facts.kubeconfig else ()
    return when(lines, *lines)


def _exposed(facts: Facts) -> Evidence | None:
    exposed = facts.kubeconfig.exposed if facts.kubeconfig else ()
    fix = " ".join(["chmod 600", *(shlex.quote(path) for path, _ in exposed)])
    return when(exposed, *(f"{path} has the mode {mode:04o}" for path, mode in exposed), fix=fix)


def _missing(facts: Facts) -> Evidence | None:
    config = facts.kubeconfig
    if config is None or config.problem or config.entry is not None:
        return None
    if facts.subject.foreign or (facts.cluster is not None and facts.cluster.state == "running"):
        names = ", ".join(config.files)
        fix = "kubectl config get-contexts" if facts.subject.foreign else ""
        return Evidence((f"no entry {facts.subject.context} in {names}",), fix=fix, steps=connect(facts))
    return None


def _stale_ca(facts: Facts) -> Evidence | None:
    entry, fresh = facts.kubeconfig.entry if facts.kubeconfig else None, facts.cluster.ca if facts.cluster else None
    if fresh is None or entry is None or entry.ca in (None, fresh):
        return None
    shown = str(entry.ca)[:16]
    return Evidence(
        (f"CA of the entry in {entry.file}: {shown}…; of the cluster: {fresh[:16]}…",), steps=connect(facts)
    )


def _expired(facts: Facts) -> Evidence | None:
    entry = facts.kubeconfig.entry if facts.kubeconfig else None
    end = entry.certificate_ends if entry else None
    applies = end is not None and end - facts.now < timedelta(0)
    return when(applies, f"the client certificate ended on {end:%Y-%m-%d}" if end else "", steps=connect(facts))


def _proxy_url(facts: Facts) -> Evidence | None:
    entry = facts.kubeconfig.entry if facts.kubeconfig else None
    failed = facts.route is not None and facts.route.cause != ""
    return when(entry and entry.proxy_url and failed, "the entry has a proxy-url, and no answer came through it")


def _environment_proxy(facts: Facts) -> Evidence | None:
    sentence = facts.route.proxied if facts.route else ""
    return when(sentence, sentence)


def _route(*causes: str, zone: str = "", connects: bool = True) -> Callable[[Facts], Evidence | None]:
    """Detect that the proof of the entry failed for one of these reasons, in this kind of zone if one is given.

    Another route helps where it `connects`.
    """

    def detect(facts: Facts) -> Evidence | None:
        route = facts.route
        if route is None or route.cause not in causes or (zone and route.zone != zone):
            return None
        return Evidence((route.why,), _fix(facts), connect(facts)) if connects else Evidence((route.why,))

    return detect


def _trap(facts: Facts) -> Evidence | None:
    loopback = facts.route is not None and "://127.0.0.1:" in facts.route.proof.route.server
    return _route("refused", zone="container")(facts) if loopback else None


def _port(facts: Facts) -> Evidence | None:
    """Somebody else listens on the API's port, while the cluster does not run."""
    declared, cluster = facts.declared, facts.cluster
    if declared is None or not declared.holder or cluster is None or cluster.state == "running" or facts.world:
        return None
    if any(f"the container {node.name} " in declared.holder for node in cluster.nodes):
        return None
    return Evidence((f"{declared.api_address}:{declared.api_port} is taken by {declared.holder}",))


ROWS = (
    Row(
        "kubeconfig-broken", "project", "kubectl cannot read a kubeconfig file",
        "error loading config file: yaml: line 3: mapping values are not allowed in this context",
        "A file was edited by hand, cut off, or is no kubeconfig.", "correct the named line; kubectl config view",
        KUBECONFIG, "every file of $KUBECONFIG is read as kubectl does", words=r"error loading config file",
        detect=_broken,
    ),
    Row(
        "kubeconfig-lock", "project", "a killed program has left its lock on the kubeconfig",
        "error: open /home/me/.kube/config.lock: file exists",
        "kubectl, kind and others lock the file before they write. A lock of a killed program stays for ever.",
        BREAK, "https://github.com/kubernetes/client-go/blob/master/tools/clientcmd/config.go",
        "the lock's age", "asks", r"config\.lock: file exists|\.lock \(.* old\) did not go away", detect=_lock,
    ),
    Row(
        "kubeconfig-dangling", "project", "the kubeconfig names something that it does not have",
        'error: current-context … does not exist; context "x" has no cluster',
        "A file was split, renamed or edited by hand: a context, its cluster or its user is missing.",
        "kubectl config use-context NAME; for kind's own: ./run invoke kubeconfig.connect",
        KUBECONFIG, "every reference in the merged files", "safe",
        words=r"current-context.* does not exist|no context exists",
        detect=_dangling,
    ),
    Row(
        "kubeconfig-disagree", "project", "two kubeconfig files have different entries of one name",
        "x509: certificate signed by unknown authority",
        "$KUBECONFIG lists several files. kubectl takes an entry from the first that has it.",
        "remove the stale entry: kubectl config delete-cluster NAME --kubeconfig FILE", KUBECONFIG,
        "entries of one name with another server, CA or user in two files", detect=_different,
    ),
    Row(
        "kubeconfig-exposed", "project", "others may read a kubeconfig with keys",
        "WARNING: Kubernetes configuration file is group-readable. This is insecure.",
        "The file's mode lets other users of this machine read the administrator's key.", "chmod 600 FILE",
        "https://helm.sh/docs/", "the files' modes", words=r"configuration file is (group|world)-readable", risk=True,
        detect=_exposed,
    ),
    Row(
        "entry-missing", "route", "the kubeconfig has no entry for the cluster",
        'error: context "kind-kind" does not exist',
        "The cluster runs, and this file was never given its entry, or has lost it.", CONNECT,
        KUBECONFIG, "the merged kubeconfig", "safe", r'context "kind-[^"]+" does not exist',
        ("kubeconfig-dangling", "kubeconfig-broken"), detect=_missing,
    ),
    Row(
        "stale-ca", "route", "the entry belongs to an earlier cluster of this name",
        'x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification error")',
        "The cluster was created again and has a new CA. Copies of the kubeconfig do not know that.", CONNECT,
        KUBECONFIG, "the CA in the entry compared with the CA of the nodes", "safe",
        r"x509: certificate signed by unknown authority", ("kubeconfig-disagree",), detect=_stale_ca,
    ),
    Row(
        "foreign-authority", "route", "another server answers at the entry's address",
        "x509: certificate signed by unknown authority",
        "Another cluster, or a proxy that intercepts TLS, listens there: its certificate is not of the cluster's CA.",
        CONNECT, KUBECONFIG, "the proof of the entry fails in TLS", "safe",
        because_of=(*DOWN, *CLUSTER_DOWN, "stale-ca", "api-port-taken", "kubeconfig-disagree"),
        detect=_route("authority"),
    ),
    Row(
        "client-certificate-expired", "route", "the client certificate in the entry has expired",
        "error: You must be logged in to the server (Unauthorized)",
        "kubeadm's client certificates are valid for one year.", CONNECT,
        "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/", "notAfter of the certificate",
        "safe", because_of=("clock-skew", "kubeconfig-disagree"), detect=_expired,
    ),
    Row(
        "login-refused", "route", "the API server does not know the login in the entry",
        "error: You must be logged in to the server (the server has asked for the client to provide credentials)",
        "The certificate or token is of another cluster, or has expired.", CONNECT, KUBECONFIG,
        "the proof of the entry ends with HTTP 401", "safe", r"You must be logged in to the server",
        ("client-certificate-expired", "stale-ca", "clock-skew", "kubeconfig-disagree", "kubeconfig-dangling"),
        detect=_route("unauthorized", "forbidden"),
    ),
    Row(
        "server-certificate-date", "route", "the API server's certificate is not valid now",
        "x509: certificate has expired or is not yet valid: current time … is after …",
        "kubeadm's certificates are valid for one year, or a clock is wrong.",
        "./run invoke up --recreate, or in each control plane: kubeadm certs renew all",
        "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/",
        "the proof of the entry fails in TLS", words=r"x509: certificate has expired", because_of=("clock-skew",),
        detect=_route("date", connects=False),
    ),
    Row(
        "tls-name", "route", "the API server's certificate is not valid for the name in the entry",
        "x509: certificate is valid for kind-control-plane, kubernetes, localhost, not host.docker.internal",
        "The address is right, and the certificate has other names: the entry needs tls-server-name.", CONNECT,
        KUBECONFIG, "the proof of the entry fails in TLS", "safe", r"x509: certificate is valid for .*, not ",
        detect=_route("name"),
    ),
    Row(
        "api-port-taken", "route", "another program has the API server's port",
        "Error starting userland proxy: listen tcp4 127.0.0.1:6443: bind: address already in use; "
        "Ports are not available: exposing port TCP 127.0.0.1:6443",
        "While the cluster did not run, another program, often another cluster, took the port.",
        "end that program, or declare another networking.apiServerPort", "kind#3681",
        "who listens on the declared port", detect=_port,
        words=r"bind: address already in use|ports are not available|already allocated|port \d+ on \S+ is taken",
    ),
    Row(
        "localhost-trap", "route", "the entry leads to this container itself",
        "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?",
        "In a container, 127.0.0.1 is the container. The API server is published on the engine's host.", CONNECT,
        KUBECONFIG, "connection refused on loopback, in a container", "safe",
        because_of=(*DOWN, *CLUSTER_DOWN), detect=_trap,
    ),
    Row(
        "route-unknown-name", "route", "the name in the entry cannot be resolved here",
        "dial tcp: lookup host.docker.internal: no such host; Could not resolve host: kubernetes.docker.internal",
        "Only Docker Desktop, or the network of the nodes, knows that name.", CONNECT, _KIND,
        "the proof of the entry fails at the name", "safe",
        r"could not resolve host: \S*docker\.internal|lookup \S*docker\.internal\S*: no such host",
        (*DOWN, *CLUSTER_DOWN), detect=_route("unknown-name"),
    ),
    Row(
        "entry-proxy-url", "route", "the entry leads through a proxy that does not answer for it",
        "proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused",
        "`proxy-url` in the entry: kubectl goes that way, other programs may not.",
        "kubectl config unset clusters.NAME.proxy-url, or start the proxy", KUBECONFIG,
        "proxy-url in the entry, and a failed proof", detect=_proxy_url,
    ),
    Row(
        "environment-proxy", "route", "kubectl would go to the API server through a proxy",
        "Unable to connect to the server: proxyconnect tcp; Unable to connect to the server: Forbidden",
        "HTTPS_PROXY is set, and NO_PROXY does not name the API server.", "export NO_PROXY=HOST", KUBECONFIG,
        "the environment, by the rules of Go's net/http",
        words=r"Unable to connect to the server: (proxyconnect|Forbidden)",
        risk=True, detect=_environment_proxy,
    ),
    Row(
        "api-refused", "route", "nothing listens at the entry's address",
        "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?",
        "The API server does not run, or is published at another address.", CONNECT, KUBECONFIG,
        "the proof of the entry fails at TCP", "safe", r"was refused - did you specify the right host or port",
        (*DOWN, *CLUSTER_DOWN, "localhost-trap", "entry-proxy-url"), detect=_route("refused"),
    ),
    Row(
        "api-silent", "route", "no answer comes from the entry's address",
        "Unable to connect to the server: net/http: TLS handshake timeout; dial tcp 10.0.0.5:6443: i/o timeout",
        "Packets are dropped on the way: a VPN, a firewall, a paused or overloaded node.", CONNECT, _KIND,
        "the proof of the entry has no answer within its deadline", "safe", r"TLS handshake timeout|:6443: i/o timeout",
        (*DOWN, *CLUSTER_DOWN, "subnet-clash", "conntrack-full", "entry-proxy-url"),
        detect=_route("silent", "unreachable"),
    ),
    Row(
        "not-an-api-server", "route", "what answers at the entry's address is no API server",
        "http: server gave HTTP response to HTTPS client; EOF",
        "Another program listens there, or the API server closes the connection while it starts or ends.", CONNECT,
        KUBECONFIG, "the proof of the entry fails in TLS or after it", "safe",
        because_of=(*DOWN, *CLUSTER_DOWN, "api-port-taken", "disk-full"),
        detect=_route("plain-http", "handshake", "closed", "not-an-api", "address", "other"),
    ),
    Row(
        "api-not-ready", "route", "the API server runs and is not ready",
        "[-]etcd failed: reason withheld; healthz check failed", "It starts, or etcd does not work.",
        "./run invoke cluster.status; ./run invoke cluster.logs", "https://kubernetes.io/docs/reference/using-api/health-checks/",
        "/readyz does not answer with 200", words=r"\[-\]\S+ failed: reason withheld",
        because_of=("disk-full", "memory-low", "control-plane-unready", "cluster-restarting"),
        detect=_route("not-ready", connects=False),
    ),
)  # fmt: skip
NO_FILE = ("kubeconfig-broken", "kubeconfig-dangling")
NO_ROUTE = tuple(row.id for row in ROWS if row.zone == "route" and not row.risk)
