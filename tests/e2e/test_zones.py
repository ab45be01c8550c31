"""Every place from which people reach the lab, or the second cluster at the gateway.

In each place, `kubectl get nodes` works with the written file, and a wrong CA or a wrong TLS name is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.places import IMAGE, NETWORK, SOCKET, Place, holds, place, start
from tests.e2e.project import GATEWAY, GATEWAY_PORT, NAME, PORT, Project

from threezone.core import process

pytestmark = pytest.mark.timeout(3600)

CONTEXT = f"kind-{NAME}"
AT_GATEWAY = f"kind-{GATEWAY}"
NODE = f"{NAME}-control-plane"


def bridge_gateway() -> str:
    """The host's address on the default bridge, which containers know as `host-gateway`."""
    mapped = ["--add-host", "host.docker.internal:host-gateway", IMAGE, "getent", "ahostsv4", "host.docker.internal"]
    return process.run(["docker", "run", "--rm", *mapped], timeout=60).stdout.split()[0]


@contextmanager
def socat(name: str, network: str, *pairs: tuple[str, str], options: tuple[str, ...] = ()) -> Iterator[None]:
    """Containers that forward: each pair is the address to listen on and the target, as socat writes them."""
    started = []
    try:
        for number, (listening, carried) in enumerate(pairs):
            container = f"threezone-e2e-{name}-{number}"
            process.run(["docker", "rm", "--force", container], timeout=60, check=False)
            where = network if number == 0 else f"container:threezone-e2e-{name}-0"
            process.run(
                ["docker", "run", "--detach", "--init", "--name", container, "--network", where,
                 "--volume", f"{SOCKET}:{SOCKET}", *(options if number == 0 else ()),
                 IMAGE, "socat", f"{listening},fork,reuseaddr", carried],
                timeout=60,
            )  # fmt: skip
            started.append(container)
        yield
    finally:
        for container in reversed(started):
            process.run(["docker", "rm", "--force", container], timeout=60)


def address(container: str) -> str:
    """The address of a container on kind's network; "" while it has none."""
    form = "{{.NetworkSettings.Networks.kind.IPAddress}}"
    return process.run(["docker", "inspect", container, "--format", form], timeout=30).stdout.strip()


@contextmanager
def taken(wanted: str) -> Iterator[None]:
    """Give a free address of kind's network to another container. The engine chooses, so it may take several."""
    started: list[str] = []
    try:
        while wanted not in map(address, started[-1:]):
            assert len(started) < 32, f"no container got {wanted}"
            name = f"threezone-e2e-address-{len(started)}"
            argv = ["docker", "run", "--detach", "--init", "--name", name, "--network", "kind", IMAGE, "sleep", "600"]
            started.append(name)
            process.run(argv, timeout=60)
        yield
    finally:
        process.run(["docker", "rm", "--force", *started], timeout=60, check=False)


def probed(zone: Project | Place, *argv: str) -> Any:
    """The JSON of `zones.probe`, which exits with 5 if no route is proved."""
    return json.loads(zone.invoke("zones.probe", "--json", *argv, check=False).stdout)


def route(found: Any, host: str) -> Any:
    """The first route of a probe to this host."""
    return next(each for each in found["routes"] if f"//{host}:" in each["server"])


# The host


def test_the_host_uses_the_published_port(lab: Project) -> None:
    lab.invoke("kubeconfig.connect")
    holds(lab, CONTEXT)
    found = probed(lab)
    assert found["zone"] == "host"
    assert found["chosen"]["server"] == f"https://127.0.0.1:{PORT}"
    stages = route(found, "127.0.0.1")["stages"]
    assert [name for name, stage in stages.items() if stage["ok"]] == ["dns", "tcp", "tls", "readyz", "auth"]


def test_an_export_for_the_network_works_on_that_network_only(lab: Project) -> None:
    lab.invoke("zones.probe")
    written = lab.invoke("kubeconfig.export", "--for", "network").stdout
    file = Path(written.splitlines()[0])
    try:
        assert f"network: https://{NODE}:6443 proved" in written
        run = ["docker", "run", "--rm", "--interactive", "--entrypoint", "kubectl"]
        asked = ["--kubeconfig=/dev/stdin", "get", "nodes", "--request-timeout=5s"]
        image = process.run(["docker", "inspect", NODE, "--format", "{{.Config.Image}}"], timeout=30).stdout.strip()
        there = process.run([*run, "--network=kind", image, *asked], timeout=60, stdin=file.read_text())
        assert " Ready " in there.stdout
        elsewhere = process.run([*run, image, *asked], timeout=60, stdin=file.read_text(), check=False)
        assert elsewhere.exit_code != 0
    finally:
        file.unlink()


def test_an_export_that_cannot_work_is_refused_with_a_fix(lab: Project, tmp_path: Path) -> None:
    file = tmp_path / "ci.yaml"
    refused = lab.invoke("kubeconfig.export", "--for", "ci", "--output", str(file), check=False)
    assert refused.exit_code == 5
    assert "threezone.cluster.api: gateway" in refused.stderr
    assert not file.exists()


def test_check_does_not_change_the_entry(lab: Project) -> None:
    before = lab.kubeconfig.read_bytes()
    assert lab.invoke("kubeconfig.check").exit_code == 0
    lab.kubeconfig.write_bytes(before.replace(f"127.0.0.1:{PORT}".encode(), b"127.0.0.1:9"))
    try:
        wrong = lab.invoke("kubeconfig.check", check=False)
        assert wrong.exit_code == 5
        assert "127.0.0.1:9 was refused - did you specify the right host or port?" in wrong.stderr
        assert "kubeconfig.connect" in wrong.stderr
    finally:
        lab.kubeconfig.write_bytes(before)


# A container on the default bridge with the engine's socket, as a devcontainer on native Linux


def test_a_copied_kubeconfig_fails_in_a_container(lab: Project, zone1: Place) -> None:
    zone1.run("mkdir", "-p", "/root/zone1")
    process.run(["docker", "cp", lab.kubeconfig, f"{zone1.container}:/root/zone1/config"], timeout=30)
    trapped = zone1.kubectl("get", "nodes", context=CONTEXT, check=False)
    assert trapped.exit_code != 0
    assert f"127.0.0.1:{PORT} was refused" in trapped.stderr
    result = zone1.invoke("kubeconfig.check", check=False)
    assert result.exit_code == 5
    assert "localhost" in result.stderr


def test_a_container_with_the_socket_joins_the_network(zone1: Place) -> None:
    assert zone1.networks() == {"bridge"}
    zone1.invoke("kubeconfig.connect")
    assert zone1.networks() == {"bridge", "kind"}
    assert zone1.entry(CONTEXT)["server"] == f"https://{NODE}:6443"
    assert "insecure-skip-tls-verify" not in zone1.entry(CONTEXT)
    holds(zone1, CONTEXT)
    zone1.invoke("kubeconfig.check")


def test_the_same_tasks_work_in_the_container(zone1: Place) -> None:
    status = json.loads(zone1.invoke("status", "--json").stdout)
    assert status["zone"] == "container"
    assert status["cluster"]["ready"] is True
    assert zone1.invoke("app.open", "--once").stdout.strip()
    assert "nothing to do" in zone1.invoke("up").stdout


def test_a_recreated_container_reconnects(lab: Project, zone1: Place) -> None:
    start(lab, "zone1")
    assert zone1.networks() == {"bridge"}
    zone1.invoke("kubeconfig.connect")
    holds(zone1, CONTEXT)


def test_zones_show_draws_node_port_and_container(lab: Project, zone1: Place) -> None:
    here, there = lab.invoke("zones.show").stdout, zone1.invoke("zones.show").stdout
    for drawing in (here, there):
        assert NODE in drawing
        assert f"127.0.0.1:{PORT}" in drawing
    assert zone1.run("hostname").stdout.strip()[:12] in there
    shown = json.loads(zone1.invoke("zones.show", "--json").stdout)
    assert (shown["kind"], shown["joined"]) == ("container", True)


# Docker Desktop, whose gateway forwards every published port, including those on 127.0.0.1 of the host


def test_a_gateway_that_forwards_is_used_as_on_docker_desktop(lab: Project, places: None) -> None:  # noqa: ARG001
    listening = f"TCP-LISTEN:{PORT},bind={bridge_gateway()}"
    mapped = ("--add-host", "host.docker.internal:host-gateway")
    with (
        socat("desktop", "host", (listening, f"TCP:127.0.0.1:{PORT}")),
        place(lab, "devcontainer", *mapped) as zone,
    ):
        zone.invoke("kubeconfig.connect")
        entry = zone.entry(CONTEXT)
        assert entry["server"] == f"https://host.docker.internal:{PORT}"
        assert entry["tls-server-name"] == "localhost"
        assert zone.networks() == {"bridge"}, "nothing else was changed"
        holds(zone, CONTEXT)


# A job on another network, without the socket: the API at the bridge's gateway, and an exported file


def test_a_cluster_at_the_gateway_works_on_the_host(gateway: Project) -> None:
    holds(gateway, AT_GATEWAY)
    published = process.run(["docker", "port", f"{GATEWAY}-control-plane", "6443/tcp"], timeout=30).stdout
    assert published.strip() == f"{bridge_gateway()}:{GATEWAY_PORT}"


def test_a_job_without_the_socket_uses_an_exported_file(gateway: Project, tmp_path: Path) -> None:
    file = tmp_path / "ci.yaml"
    gateway.invoke("kubeconfig.export", "--for", "ci", "--output", str(file), "--token")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "client-key-data" not in file.read_text()
    options = ("--volume", f"{file}:/root/job.yaml:ro", "--env", "KUBECONFIG=/root/job.yaml")
    with place(gateway, "job", *options, socket=False, network=NETWORK) as job:
        holds(job, AT_GATEWAY)
        assert json.loads(job.invoke("zones.show", "--json").stdout)["container_id"] == ""
        job.invoke("kubeconfig.check")


def test_the_recipe_of_the_documents_works_with_the_gateway(gateway: Project) -> None:
    with place(gateway, "recipe", "--add-host", "host.docker.internal:host-gateway", socket=False) as zone:
        zone.run("mkdir", "-p", "/root/recipe")
        process.run(["docker", "cp", gateway.kubeconfig, f"{zone.container}:/root/recipe/config"], timeout=30)
        server = f"--server=https://host.docker.internal:{GATEWAY_PORT}"
        zone.kubectl("config", "set-cluster", AT_GATEWAY, server)
        refused = zone.kubectl("get", "nodes", context=AT_GATEWAY, check=False)
        assert "x509: certificate is valid for" in refused.stderr
        zone.kubectl("config", "set-cluster", AT_GATEWAY, server, "--tls-server-name=localhost")
        holds(zone, AT_GATEWAY)


# A GitLab job


def test_a_gitlab_job_gets_an_explanation_and_the_export_works(gateway: Project, tmp_path: Path) -> None:
    for_ci = tmp_path / "ci.yaml"
    gateway.invoke("kubeconfig.export", "--for", "ci", "--output", str(for_ci))
    name = "kubernetes.docker.internal"
    options = ("--env", "GITLAB_CI=true", "--volume", f"{for_ci}:/root/ci.yaml:ro")
    with place(gateway, "gitlab", *options, socket=False, network=NETWORK) as job:
        before_script = job.run("curl", "--silent", "--show-error", f"https://{name}:6443", check=False)
        assert before_script.exit_code == 6
        assert f"Could not resolve host: {name}" in before_script.stderr
        job.run("install", "-D", "--mode=600", "/root/ci.yaml", "/root/gitlab/config")
        job.kubectl("config", "set-cluster", AT_GATEWAY, f"--server=https://{name}:6443")
        found = probed(job, "--name", GATEWAY)
        trapped = route(found, name)
        assert trapped["stages"]["dns"]["ok"] is False
        assert f"Could not resolve host: {name}" in trapped["why"]
        result = job.invoke("kubeconfig.check", "--name", GATEWAY, check=False)
        assert result.exit_code == 5
        assert "Only Docker Desktop knows that name" in " ".join(result.stderr.replace("|", " ").split())
        job.run("install", "-D", "--mode=600", "/root/ci.yaml", "/root/gitlab/config")
        holds(job, AT_GATEWAY)


# An engine at an alias, as with docker-in-docker: DOCKER_HOST=tcp://docker:2375


def test_an_engine_at_an_alias_is_reached_at_the_alias(lab: Project, places: None) -> None:  # noqa: ARG001
    carried = (("TCP-LISTEN:2375", f"UNIX-CONNECT:{SOCKET}"), (f"TCP-LISTEN:{PORT}", f"TCP:{address(NODE)}:6443"))
    with socat("docker", NETWORK, *carried, options=("--network-alias", "docker")):
        process.run(["docker", "network", "connect", "kind", "threezone-e2e-docker-0"], timeout=30)
        with place(lab, "dind", "--env=DOCKER_HOST=tcp://docker:2375", socket=False, network=NETWORK) as zone:
            zone.invoke("kubeconfig.connect")
            assert zone.entry(CONTEXT)["server"] == f"https://docker:{PORT}"
            assert zone.entry(CONTEXT)["tls-server-name"] == "localhost"
            holds(zone, CONTEXT)
            assert json.loads(zone.invoke("zones.show", "--json").stdout)["engine"] == "remote"


# The node gets another address, and the cluster another CA


def test_connect_finds_a_node_with_a_new_address(gateway: Project) -> None:
    node = f"{GATEWAY}-control-plane"
    with place(gateway, "moved") as zone:
        zone.invoke("kubeconfig.connect")
        holds(zone, AT_GATEWAY)
        before = address(node)
        process.run(["docker", "stop", node], timeout=120)
        with taken(before):
            process.run(["docker", "start", node], timeout=60)
        assert address(node) not in ("", before)
        gateway.invoke("cluster.create")  # waits until the node is Ready again
        for where in (zone, gateway):
            where.invoke("kubeconfig.connect")
            holds(where, AT_GATEWAY)


def test_a_recreated_cluster_needs_a_new_connection(gateway: Project) -> None:
    with place(gateway, "recreated", socket=True) as zone:
        zone.invoke("kubeconfig.connect")
        gateway.invoke("cluster.delete", "--yes")
        gone = zone.invoke("kubeconfig.connect", check=False)
        assert gone.exit_code == 4
        assert GATEWAY in gone.stderr
        assert zone.invoke("kubeconfig.check", check=False).exit_code == 4
        gateway.invoke("cluster.create")
        other = zone.invoke("kubeconfig.check", check=False)
        assert other.exit_code == 4, "the CA is another one"
        zone.invoke("kubeconfig.connect")
        holds(zone, AT_GATEWAY)


def test_the_entry_of_the_host_is_unchanged(lab: Project, zone1: Place) -> None:  # noqa: ARG001
    assert json.loads(lab.invoke("status", "--json").stdout)["kubeconfig"]["server"] == f"https://127.0.0.1:{PORT}"
