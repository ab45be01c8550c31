"""Add-ons on the lab: a token, a proxy, and manifests that the API server checks and a commit delivers."""

from __future__ import annotations

import http.client
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.project import NAME, Project

pytestmark = pytest.mark.timeout(3600)

CONTEXT = f"kind-{NAME}"
DECLARED = "local/gitops/clusters/local/kustomization.yaml"
ADDONS = "../../addons"


@pytest.fixture
def delivered(lab: Project) -> Iterator[Project]:
    """The lab. After the test, its earlier content is delivered again."""
    before = (lab.root / DECLARED).read_text()
    lab.invoke("gitops.push", "--force")
    yield lab
    (lab.root / DECLARED).write_text(before)
    lab.commit("As it was before the add-ons")
    # When the last update of a resource definition that ends meets another writer's, Kubernetes tries again at its next
    # resync, within five minutes; a push waits for three.
    if lab.invoke("gitops.push", "--force", check=False).exit_code != 0:
        lab.invoke("gitops.push", "--force")


def may(project: Project, token: Path, verb: str, what: str) -> str:
    """The API server's answer whether the owner of `token` may do `verb` to `what`: "yes", "no", or "" on an error."""
    view = project.view()
    cluster = next(each for each in view["clusters"] if each["name"] == CONTEXT)
    mine = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [{"name": "me", "user": {"tokenFile": str(token)}}],
        "contexts": [{"name": "me", "context": {"cluster": CONTEXT, "user": "me"}}],
        "current-context": "me",
    }
    file = project.root.parent / "by-token.json"
    file.write_text(json.dumps(mine))
    asked = project.run(project.tool("kubectl"), f"--kubeconfig={file}", "auth", "can-i", verb, what, check=False)
    return asked.stdout.strip()


def comes_to(project: Project, token: Path, verb: str, what: str, answer: str) -> bool:
    """Whether `may` gives this answer within a minute: the API server caches bindings and tokens for some seconds."""
    end = time.monotonic() + 60
    while (lines := may(project, token, verb, what)) != answer and time.monotonic() < end:
        time.sleep(0.5)
    return lines == answer


def written(project: Project, *options: str) -> Path:
    return Path(project.invoke("addon.token", *options).stdout.splitlines()[0])


def named(project: Project, task: str, *what: str) -> None:
    """The task names `what` is not available, and declares nothing. The channel `source` has none of these images."""
    before = (project.root / DECLARED).read_text()
    done = project.invoke(task, "--channel", "source", check=False)
    assert done.exit_code == 7, done.stderr
    assert [each for each in what if each not in done.stderr] == []
    assert (project.root / DECLARED).read_text() == before


def test_a_token_can_only_read_and_can_be_revoked(lab: Project) -> None:
    token = written(lab)
    assert token == lab.root / "tokens" / f"{CONTEXT}.view.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert lab.run("git", "status", "--porcelain", "tokens").stdout == "", "git does not see it"
    assert comes_to(lab, token, "list", "pods", "yes")
    assert [may(lab, token, *ask) for ask in (("get", "secrets"), ("delete", "pods"))] == ["no", "no"]
    admin = written(lab, "--role", "cluster-admin")
    assert comes_to(lab, admin, "delete", "nodes", "yes")
    kept = lab.root.parent / "kept"
    kept.write_text(admin.read_text())
    refused = lab.invoke("addon.token", "--output", "token.txt", check=False)
    assert (refused.exit_code, (lab.root / "token.txt").exists()) == (2, False)
    lab.invoke("addon.token", "--remove")
    assert not list(token.parent.glob("*.token"))
    assert comes_to(lab, kept, "delete", "nodes", ""), "the token has ended"


def test_the_proxy_is_a_daemon_of_its_cluster(lab: Project) -> None:
    try:
        started = json.loads(lab.invoke("addon.proxy", "start", "--json").stdout)
        assert json.loads(lab.invoke("addon.proxy", "start", "--json").stdout)["pid"] == started["pid"]
        end = time.monotonic() + 60  # the API server caches bindings for some seconds
        while through_proxy(started["port"], "GET", "/api/v1/pods")[0] != 200 and time.monotonic() < end:
            time.sleep(0.5)
        pods = json.loads(through_proxy(started["port"], "GET", "/api/v1/pods")[1])["items"]
        assert {"flux-system", "hello"} <= {pod["metadata"]["namespace"] for pod in pods}
        refused = [
            ("DELETE", "/api/v1/namespaces/hello"),
            ("GET", "/api/v1/secrets"),
            ("GET", "/api/v1/nodes"),
            ("GET", f"/api/v1/nodes/{NAME}-control-plane/proxy/pods"),
            ("GET", "/api/v1/namespaces/hello/services/hello:80/proxy/"),
            ("GET", "/api/v1/namespaces/flux-system/%73ecrets"),
        ]
        assert [through_proxy(started["port"], *each)[0] for each in refused] == [403] * len(refused)
        assert (
            lab.invoke("addon.proxy", "status").stdout.strip()
            == f"{started['url']} serves the API of {CONTEXT}, to read, until {started['ends']}"
        )
    finally:
        lab.invoke("addon.proxy", "stop")
    assert lab.invoke("addon.proxy", "status", check=False).exit_code == 5
    assert lab.invoke("addon.proxy", "stop").stdout == "nothing to do: no proxy runs\n"


def through_proxy(port: int, method: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_add_ons_are_checked_by_the_server_and_delivered_by_commit(delivered: Project) -> None:
    lab = delivered
    # Parts without an image are delivered by commit: the accounts of the dashboard, and the Gateway API.
    before = (lab.root / DECLARED).read_text()
    lab.invoke(
        "addon.ingress", "--check", "--channel", "source", check=False
    )  # writes the definitions, from their published module
    more = [f"  - {ADDONS}/{each}\n" for each in ("dashboard/access", "dashboard/admin", "ingress/crds")]
    (lab.root / DECLARED).write_text(before + "".join(more))
    lab.run("git", "add", "local/gitops")
    lab.run("git", "commit", "--message", "Add dashboard")
    lab.invoke("gitops.push")

    viewer, admin = (written(lab, "--account", f"headlamp/{name}") for name in ("viewer", "admin"))
    assert written(lab, "--account", "headlamp/viewer", "--hours", "8") == viewer, "a longer one in the same file"
    asked = (("list", "nodes"), ("get", "secrets"), ("delete", "deployments.apps"))
    assert comes_to(lab, viewer, "list", "nodes", "yes")
    assert comes_to(lab, admin, "delete", "nodes", "yes")
    assert [may(lab, viewer, *each) for each in asked] == ["yes", "no", "no"]
    assert [may(lab, admin, *each) for each in asked] == ["yes", "yes", "yes"]

    # The API server accepts all objects, including the kinds of the Gateway API and of Flux.
    for name, kinds in (
        ("dashboard", ("Deployment headlamp/headlamp", "Service headlamp/headlamp")),
        ("ingress", ("Gateway ingress/ingress", "GatewayClass traefik", "Deployment ingress/traefik")),
        ("agent", ("HelmRelease gitlab-agent/gitlab-agent", "HelmRepository gitlab-agent/gitlab")),
    ):
        seen = lab.invoke(f"addon.{name}", "--check", "--channel", "source", check=False).stdout
        assert [kind for kind in kinds if f"accepted: {kind}" not in seen.splitlines()] == [], seen
        assert "not checked" not in seen
    route = lab.kubectl("apply", "--server-side", "--dry-run=server", "-k", "local/gitops/addons/ingress/hello")
    assert "httproute.gateway.networking.k8s.io/hello" in route.stdout
    (lab.root / DECLARED).write_text(before)

    named(lab, "addon.dashboard", "the image ghcr.io/headlamp-k8s/headlamp:v0.45.0 is not available in this channel")
    named(lab, "addon.ingress", "the image docker.io/library/traefik:v3.6.12 is not available in this channel")
    broken = lab.root / "local/gitops/addons/ingress/controller/gateway.yaml"
    good = broken.read_text()
    broken.write_text(good.replace("protocol: HTTP", "protocol: 80"))
    refused = lab.invoke("addon.ingress", "--channel", "source", check=False)
    assert (refused.exit_code, "the API server refuses these manifests" in refused.stderr) == (2, True)
    broken.write_text(good)


def test_the_token_of_the_agent_is_stored_in_a_secret(lab: Project) -> None:
    file = lab.root.parent / "agent-token"
    file.write_text("glagent-of-these-tests\n")
    file.chmod(0o600)
    try:
        assert lab.invoke("addon.agent", check=False).exit_code == 2
        done = lab.invoke("addon.agent", "--token-file", str(file), "--channel", "source", check=False)
        assert done.exit_code == 7, done.stderr
        assert "the chart gitlab-agent 2.12.2 of https://charts.gitlab.io is not available" in done.stderr
        assert "glagent-of-these-tests" not in done.stdout + done.stderr
        secret: Any = lab.json("get", "secret", "gitlab-agent-token", "--namespace", "gitlab-agent")
        assert secret["data"] == {"token": "Z2xhZ2VudC1vZi10aGVzZS10ZXN0cw=="}
    finally:
        lab.invoke("addon.agent", "--remove")
        lab.kubectl("wait", "--for=delete", "namespace/gitlab-agent", "--timeout=120s")
    assert lab.invoke("addon.agent", "--remove").stdout == "agent is not declared; nothing to do\n"
