"""What a tunnel is made of, as data: where it ends, ssh's arguments, and what its failures are called."""

import pytest

from threezone.clients.kind import Node
from threezone.core.errors import ClusterError, RouteError, ThreezoneError
from threezone.zones.tunnel import TunnelSpec, explain, far_end, ssh_arguments

SSH = TunnelSpec("ssh", "ssh://me@far:2222", "127.0.0.1:6443")
EXEC = TunnelSpec("exec", "tcp://far:2376", "kind-control-plane")


def node(name: str, role: str = "control-plane", state: str = "running") -> Node:
    return Node("0", f"kind-{name}", "kind", role, state, "image", ours=True)


ONE = (node("worker", "worker"), node("control-plane"))
HA = (
    node("external-load-balancer", "external-load-balancer"),
    node("control-plane2"),
    node("control-plane", state="exited"),
)


@pytest.mark.parametrize("endpoint", ["ssh://me@far", "tcp://far:2376", "unix:///var/run/docker.sock"])
def test_a_tunnel_ends_at_the_control_plane(endpoint: str) -> None:
    assert far_end("kind", endpoint, ONE).name == "kind-control-plane"


def test_with_a_balancer_ssh_ends_where_the_api_is_published_and_exec_in_a_node_that_runs() -> None:
    assert far_end("kind", "ssh://me@far", HA).name == "kind-external-load-balancer"
    assert far_end("kind", "tcp://far:2376", HA).name == "kind-control-plane2"


def test_a_cluster_that_is_not_there_or_does_not_run_is_said() -> None:
    with pytest.raises(ClusterError, match="the engine tcp://far has no cluster kind"):
        far_end("kind", "tcp://far", ())
    with pytest.raises(ClusterError, match="the control-plane of the cluster kind does not run") as caught:
        far_end("kind", "tcp://far", [node("control-plane", state="exited")])
    assert caught.value.evidence == "kind-control-plane: exited"
    assert caught.value.fix == "docker start kind-control-plane"


@pytest.mark.parametrize(
    ("endpoint", "ends_with"),
    [
        ("ssh://far", ["--", "far"]),
        ("ssh://me@Far", ["-l", "me", "--", "Far"]),
        ("ssh://me@far:2222", ["-l", "me", "-p", "2222", "--", "far"]),
        ("ssh://me@[fd00::1]:22", ["-l", "me", "-p", "22", "--", "fd00::1"]),
        ("ssh://-oProxyCommand=x", ["--", "-oProxyCommand=x"]),  # a host, never an option
    ],
)
def test_ssh_goes_where_docker_host_says(endpoint: str, ends_with: list[str]) -> None:
    arguments = ssh_arguments(TunnelSpec("ssh", endpoint, "127.0.0.1:6443"), 16443)
    forward = arguments.index("-L")
    assert arguments[forward : forward + 2] == ["-L", "127.0.0.1:16443:127.0.0.1:6443"]
    assert arguments[forward + 2 :] == ends_with


def test_ssh_asks_nothing_and_leaves_the_checking_of_host_keys_to_the_user() -> None:
    arguments = ssh_arguments(SSH, 6443)
    assert {"-N", "-T", "-oBatchMode=yes", "-oExitOnForwardFailure=yes", "-oControlPath=none"} <= set(arguments)
    assert not [part for part in arguments if "HostKey" in part or "KnownHosts" in part]


# The words are OpenSSH 9.2's own, as an sshd on loopback made it say them.
CHANGED = """\
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
Host key for [far]:2222 has changed and you have requested strict checking.
Host key verification failed."""


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        ("me@far: Permission denied (publickey).", "far does not accept our ssh key", "ssh-copy-id -p 2222 me@far"),
        ("Host key verification failed.", "the host key of far is not known here", "ssh -p 2222 me@far true"),
        (CHANGED, "the host key of far has changed", "ssh-keygen -R '[far]:2222'"),
        (
            "channel 1: open failed: administratively prohibited: open failed",
            "the ssh server on far refuses to forward connections",
            "AllowTcpForwarding local",
        ),
        (
            "channel 1: open failed: connect failed: Connection refused",
            "nothing answers on 127.0.0.1:6443 of far",
            "cluster.status --name kind",
        ),
        (
            "ssh: connect to host far port 2222: Connection refused",
            "far does not answer ssh",
            "ssh -p 2222 me@far true",
        ),
        (
            "ssh: Could not resolve hostname far: Name or service not known",
            "the name far cannot be resolved here",
            "DOCKER_HOST",
        ),
        ("something new", "nothing gets through the tunnel to the cluster kind", "ssh -p 2222 me@far true"),
    ],
)
def test_what_ssh_says_becomes_a_cause_and_a_fix(words: str, message: str, fix: str) -> None:
    error = explain(words, "kind", SSH)
    assert type(error) is RouteError
    assert (error.message, error.evidence) == (message, words)
    assert fix in error.fix


def test_what_ssh_says_of_every_attempt_is_shown_once() -> None:
    assert explain("one\ntwo\none\none", "kind", SSH).evidence == "one\ntwo"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("container 1f2e is not running", 4, "the node kind-control-plane does not run"),
        ("No such container: kind-control-plane", 4, "the node kind-control-plane is gone"),
        ("Container 1f2e is paused, unpause the container before exec", 4, "the node kind-control-plane does not run"),
        ("connect to 127.0.0.1:6443: Connection refused", 4, "the API server does not listen in the node"),
        ("Cannot connect to the Docker daemon at tcp://far:2376. Is the docker daemon running?", 3, "engine"),
        ("me@far: Permission denied (publickey).", 5, "nothing gets through the tunnel to the cluster kind"),
    ],
)
def test_what_docker_exec_says_becomes_a_cause(words: str, code: int, message: str) -> None:
    error: ThreezoneError = explain(words, "kind", EXEC)
    assert error.exit_code == code
    assert message in error.message
    assert error.evidence == words
