"""Rows about the container engine and its client: zone 2."""

from __future__ import annotations

from collections.abc import Callable

from threezone.clients.docker.engine import TROUBLE, State
from threezone.core.plan import Step, StepKind
from threezone.doctor.facts import Facts
from threezone.doctor.row import Evidence, Row, Safety, when

MOST_CLOCK_SKEW = 60.0  # seconds; certificates and leases of Kubernetes tolerate little more
MANY_NETWORKS = 29  # Docker's default pools have 31 ranges (moby, libnetwork/ipamutils)
KIND_ISSUES = "https://kind.sigs.k8s.io/docs/user/known-issues/"
DOCKER = "https://docs.docker.com/engine/"


def _state(state: State) -> Callable[[Facts], Evidence | None]:
    """Detect an engine in this state; `missing` and `stopped` are repaired by engine.start."""

    def detect(facts: Facts) -> Evidence | None:
        if facts.engine is None or facts.engine.engine.state != state:
            return None
        if state == "missing" and facts.world is not None:  # as in a job: the API server is enough
            return None
        engine = facts.engine.engine
        steps: tuple[Step, ...] = ()
        if state in ("missing", "stopped"):
            steps = (Step(StepKind.START_ENGINE, "start the container engine", "./run invoke engine.start", asks=True),)
        lines = engine.evidence.splitlines()[:3]
        return Evidence((f"engine: {engine.endpoint}", *lines), steps=steps)

    return detect


def _state_row(id_: str, state: State, symptom: str, cause: str, *, source: str, words: str = "") -> Row:
    title, fix = TROUBLE[state]
    safety: Safety = "asks" if state in ("missing", "stopped") else "by hand"
    seen = f"`docker info` ends in the state {state}"
    return Row(id_, "engine", title, symptom, cause, fix, source, seen, safety, words, detect=_state(state))


def _clock(facts: Facts) -> Evidence | None:
    skew = facts.engine.skew if facts.engine else None
    if skew is None or abs(skew) <= MOST_CLOCK_SKEW:
        return None
    direction = "ahead of" if skew > 0 else "behind"
    return Evidence((f"the engine's clock is {abs(skew):.0f} s {direction} the clock here",))


def _capabilities(facts: Facts) -> Evidence | None:
    missing = facts.host.missing_capabilities if facts.host else ()
    engine = facts.engine.engine if facts.engine else None
    applies = missing and engine and engine.state in ("ok", "broken") and engine.runtime == "runc"
    return when(applies, f"this machine lacks {', '.join(missing)}, and the engine's runtime is runc")


def _rootless(facts: Facts) -> Evidence | None:
    engine = facts.engine.engine if facts.engine else None
    return when(engine and engine.rootless and engine.cgroup == "1", "a rootless engine on cgroup v1")


def _podman(facts: Facts) -> Evidence | None:
    asked = facts.engine.podman if facts.engine else ""
    return when(asked, f"KIND_EXPERIMENTAL_PROVIDER={asked}")


def _snap(facts: Facts) -> Evidence | None:
    program = facts.engine.program if facts.engine else ""
    return when(program.startswith("/snap/"), f"docker is {program}")


def _init(facts: Facts) -> Evidence | None:
    return when(facts.engine and facts.engine.init, '"init": true in /etc/docker/daemon.json')


def _proxies(facts: Facts) -> Evidence | None:
    sentence = facts.engine.proxies if facts.engine else ""
    return when(sentence, sentence)


def _platform(facts: Facts) -> Evidence | None:
    asked = facts.environment.get("DOCKER_DEFAULT_PLATFORM", "")
    own = facts.engine.engine.architecture if facts.engine else ""
    wrong = asked and own and asked.split("/")[1:2] != [own]
    return when(wrong, f"DOCKER_DEFAULT_PLATFORM={asked}, and the engine runs on {own}")


def _ambiguous(facts: Facts) -> Evidence | None:
    count = facts.networks.names.count("kind") if facts.networks else 0
    return when(count > 1, f"{count} networks are named kind")


def _pools(facts: Facts) -> Evidence | None:
    count = len(facts.networks.names) if facts.networks else 0
    return when(count >= MANY_NETWORKS, f"the engine has {count} networks, and its default address pools 31")


def _clash(facts: Facts) -> Evidence | None:
    import ipaddress

    if facts.networks is None or facts.host is None:
        return None
    nets = [ipaddress.ip_network(each) for each in facts.networks.subnets]
    for interface, text in facts.host.routes:
        route = ipaddress.ip_network(text)
        for net in nets:
            if interface != facts.networks.interface and net.version == route.version and net.overlaps(route):
                return Evidence((f"the network kind has {net}, and {interface} leads to {route}",))
    return None


def _ipv6(facts: Facts) -> Evidence | None:
    family = facts.declared.ip_family if facts.declared else "ipv4"
    return when(
        facts.host and not facts.host.ipv6 and family != "ipv4", f"ipFamily {family} is declared; IPv6 is off here"
    )


ROWS = (
    _state_row(
        "engine-missing", "missing", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock",
        "There is no container engine on this machine.", source=f"{DOCKER}install/",
        words=r"program docker is not on PATH",
    ),
    _state_row(
        "engine-stopped", "stopped",
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        "The engine is installed, and its daemon does not run.", source=f"{DOCKER}daemon/start/",
        words=r"is the docker daemon running",
    ),
    _state_row(
        "engine-forbidden", "forbidden",
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
        "Your user is not in the group that may use the socket. That group has the rights of root on the host.",
        source=f"{DOCKER}install/linux-postinstall/", words=r"permission denied .*docker.*sock",
    ),
    _state_row(
        "engine-too-old", "too-old", "client version 1.52 is too new. Maximum supported API version is 1.41",
        "The engine is older than 20.10, or older than the client can talk to.", source=f"{DOCKER}release-notes/",
        words=r"is too new\. maximum supported api version",
    ),
    _state_row(
        "docker-client-too-old", "old-client",
        "client version 1.22 is too old. Minimum supported API version is 1.44, please upgrade your client",
        "The engine no longer speaks the version of the API that this client, or DOCKER_API_VERSION, asks for.",
        source=f"{DOCKER}release-notes/29/", words=r"is too old\. minimum supported api version",
    ),
    _state_row(
        "docker-context", "no-context", 'context "colima": context not found',
        "DOCKER_CONTEXT, or currentContext in Docker's config.json, names a context of another machine or engine.",
        source="https://docs.docker.com/engine/manage-resources/contexts/",
        words=r"context not found|unable to resolve docker endpoint: context",
    ),
    _state_row(
        "docker-certificates", "certificates",
        "unable to resolve docker endpoint: open /certs/client/ca.pem: no such file or directory",
        "The client is to use TLS (docker:dind does by default), and the certificates are missing or do not fit.",
        source="https://hub.docker.com/_/docker", words=r"/certs/client|failed to retrieve context tls info",
    ),
    _state_row(
        "docker-proxy", "proxy", "proxyconnect tcp: dial tcp: lookup proxy.example.com: no such host",
        "HTTP_PROXY also applies to DOCKER_HOST=tcp://…, and the proxy does not lead to the engine.",
        source="https://docs.docker.com/engine/cli/proxy/", words=r"docker.*proxyconnect tcp|proxyconnect tcp.*docker",
    ),
    _state_row(
        "docker-host", "no-socket", "Cannot connect to the Docker daemon at unix:///home/me/.docker/desktop/docker.sock",
        "DOCKER_HOST or the docker context names a socket that nothing serves: its engine is stopped or removed.",
        source="https://docs.docker.com/reference/cli/docker/#environment-variables",
    ),
    _state_row(
        "docker-is-podman", "podman", "Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.",
        "The program docker is Podman's: kind would put its nodes where our tasks do not look.",
        source="https://docs.podman.io/en/latest/markdown/podman.1.html", words=r"emulate docker cli using podman",
    ),
    _state_row(
        "engine-unreachable", "unreachable", "error during connect: dial tcp 10.0.0.5:2376: i/o timeout",
        "Nothing answers at the engine's address: the machine is off, the address is old, or a firewall drops packets.",
        source="https://docs.docker.com/engine/daemon/remote-access/",
        words=r"error during connect: .*(timeout|refused)",
    ),
    Row(
        "engine-capabilities", "engine", "the engine cannot start privileged containers on this machine",
        "unable to apply caps: operation not permitted",
        "This machine lacks capabilities (a sandbox, a virtual machine), and runc refuses a container that asks for "
        "them; --privileged asks for all.",
        "./run invoke engine.start", "https://github.com/opencontainers/runc/blob/main/libcontainer/capabilities",
        "capabilities outside the bounding set, and an engine that starts containers with runc itself", "by hand",
        r"unable to apply caps", risk=True, detect=_capabilities,
    ),
    Row(
        "clock-skew", "engine", "the engine's clock differs from the clock here",
        "x509: certificate has expired or is not yet valid: current time … is before …",
        "A virtual machine that slept, or a host without time synchronisation: certificates seem expired or not yet "
        "valid, and leases end at once.",
        "sudo chronyc makestep, or restart Docker Desktop", "https://github.com/docker/for-mac/issues/2076",
        "SystemTime of `docker info` compared with this machine's clock", words=r"certificate .*is not yet valid",
        detect=_clock,
    ),
    Row(
        "rootless-cgroup-v1", "engine", "a rootless engine cannot run kind on cgroup v1",
        'running kind with rootless provider requires cgroup v2; requires setting systemd property "Delegate=yes"',
        "Without root, only cgroup v2 with delegation lets the engine limit containers.",
        "switch the host to cgroup v2 and set Delegate=yes: https://kind.sigs.k8s.io/docs/user/rootless/",
        "https://kind.sigs.k8s.io/docs/user/rootless/", "`docker info`: rootless, and CgroupVersion 1",
        words=r"rootless provider requires cgroup v2|Delegate=yes", detect=_rootless,
    ),
    Row(
        "kind-provider", "engine", "kind is to use another provider than Docker",
        "enabling experimental podman provider",
        "KIND_EXPERIMENTAL_PROVIDER is set: a plain kind looks for nodes in Podman or nerdctl, our tasks in Docker.",
        "unset KIND_EXPERIMENTAL_PROVIDER", "https://kind.sigs.k8s.io/docs/user/quick-start/#creating-a-cluster",
        "the environment", words=r"enabling experimental \w+ provider", risk=True, detect=_podman,
    ),
    Row(
        "docker-snap", "engine", "Docker is a snap, which has a /tmp of its own",
        'invalid output path: directory "/tmp/images-tar…" does not exist',
        "A snap cannot see /tmp of the host: archives for `kind load` are written where Docker does not find them.",
        'export TMPDIR="$HOME/tmp"; or install Docker from https://docs.docker.com/engine/install/',
        "kind#3377", "the docker program lies below /snap", words=r"invalid output path: directory .?/tmp/", risk=True,
        detect=_snap,
    ),
    Row(
        "docker-init", "engine", "the engine gives every container an init of its own",
        "Couldn't find an alternative telinit implementation to spawn.",
        '"init": true in daemon.json makes another program process 1 of the node, where systemd has to be.',
        'remove "init": true from /etc/docker/daemon.json, and restart Docker', KIND_ISSUES,
        "/etc/docker/daemon.json", words=r"alternative telinit", detect=_init,
    ),
    Row(
        "docker-container-proxies", "engine", "Docker's config.json gives a proxy to every container, nodes included",
        "kubelet: failed to pull image: proxyconnect tcp: dial tcp: lookup proxy: no such host",
        "`proxies` in Docker's config.json become variables of the nodes: kubelet, kubeadm and containerd send even "
        "calls inside the cluster to the proxy.",
        "add the ranges of the cluster to noProxy there (10.96.0.0/12,10.244.0.0/16,172.16.0.0/12,.svc,.cluster.local),"
        " or remove `proxies`; then create the cluster again",
        "https://docs.docker.com/engine/cli/proxy/", "`proxies` in Docker's config.json",
        words=r"(kubelet|kubeadm|containerd).*proxyconnect", risk=True, detect=_proxies,
    ),
    Row(
        "docker-default-platform", "engine", "images of another architecture are asked for",
        "qemu: uncaught target signal 11 (Segmentation fault) - core dumped; exec format error",
        "DOCKER_DEFAULT_PLATFORM asks for images of another processor than the engine's: nodes run emulated, or not.",
        "unset DOCKER_DEFAULT_PLATFORM; then create the cluster again", "kind#2632",
        "the environment, compared with `docker info`", words=r"qemu: uncaught target signal|exec format error",
        risk=True, detect=_platform,
    ),
    Row(
        "network-ambiguous", "engine", "there is more than one network named kind",
        "network kind is ambiguous (2 matches found on name)",
        "Two creates at the same time have each made the network.", "docker network ls; docker network rm ID",
        "kind#1596",
        "`docker network ls`", words=r"network kind is ambiguous", detect=_ambiguous,
    ),
    Row(
        "address-pools", "engine", "the engine has hardly any address range left for another network",
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        "Every network takes one of the ranges in the engine's pools; unused networks keep theirs.",
        "docker network prune, or more default-address-pools in /etc/docker/daemon.json", "kind#2488",
        "the number of networks", words=r"non-overlapping IPv4 address pool|all predefined address pools", risk=True,
        detect=_pools,
    ),
    Row(
        "subnet-clash", "engine", "kind's network has the addresses of another network of this machine",
        "dial tcp 172.18.0.2:6443: connect: no route to host",
        "A VPN or another interface has the same address range: packets for the nodes go there.",
        "choose other ranges: default-address-pools in /etc/docker/daemon.json, then docker network rm kind and create "
        "the cluster again", KIND_ISSUES, "kind's network compared with the routing table", risk=True, detect=_clash,
    ),
    Row(
        "no-ipv6", "engine", "an IPv6 cluster is declared, and IPv6 is off on the engine's machine",
        "ip6tables v1.8.9 (legacy): can't initialize ip6tables table `nat': Table does not exist",
        "The kernel has no IPv6, or it is disabled: the network of the nodes cannot be made.",
        "declare networking.ipFamily: ipv4, or sudo modprobe ip6table_nat and sysctl net.ipv6.conf.all.disable_ipv6=0",
        "kind#3748", "the declared ipFamily, and /proc/sys/net/ipv6", words=r"can.t initialize ip6tables table",
        detect=_ipv6,
    ),
)  # fmt: skip
DOWN = (
    "engine-missing", "engine-stopped", "engine-forbidden", "engine-too-old", "docker-client-too-old", "docker-context",
    "docker-certificates", "docker-proxy", "docker-host", "docker-is-podman", "engine-unreachable",
)  # fmt: skip
