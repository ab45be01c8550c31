"""The add-ons' steps on plain files and an API server that is a table; the real one is asked end to end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threezone.cluster.lab import Lab
from threezone.core import process, redaction
from threezone.core.errors import EngineError, ToolError, UsageError
from threezone.core.process import Completed
from threezone.core.settings import Settings
from threezone.extras import templates
from threezone.extras.addons import declare
from threezone.extras.addons.manifests import Artifact
from threezone.toolchain import channel as reach
from threezone.toolchain import golang

IMAGE, CHART = "ghcr.io/headlamp-k8s/headlamp:v0.45.0", "agent 2.0.0 of https://charts.invalid"
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "app", "namespace": "new"},
    "spec": {"template": {"spec": {"containers": [{"image": IMAGE}]}}},
}
GATEWAY = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "g", "namespace": "old"},
}
CHARTED: list[dict[str, Any]] = [
    {
        "apiVersion": "s/v1",
        "kind": "HelmRepository",
        "metadata": {"name": "r"},
        "spec": {"url": "https://charts.invalid"},
    },
    {
        "apiVersion": "h/v2",
        "kind": "HelmRelease",
        "metadata": {"name": "agent"},
        "spec": {"chart": {"spec": {"chart": "agent", "version": "2.0.0", "sourceRef": {"name": "r"}}}},
    },
]


class Server:
    """What an API server has, and what it was told."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.objects: dict[str, dict[str, Any]] = {}

    def get(self, path: str) -> dict[str, Any] | None:
        table: dict[str, Any] = {
            "/apis": {"groups": [{"versions": [{"groupVersion": "apps/v1"}]}]},
            "/apis/apps/v1": {"resources": [{"name": "deployments", "kind": "Deployment"}]},
            "/api/v1": {"resources": [{"name": "services", "kind": "Service"}]},
            "/api/v1/namespaces": {"items": [{"metadata": {"name": "old"}}]},
            "/api/v1/nodes": {"items": [{"status": {"images": [{"names": self.held}]}}, {"status": {}}]},
        }
        return table.get(path) or self.objects.get(path)

    def apply(self, path: str, wanted: dict[str, Any]) -> dict[str, Any]:
        self.objects[path] = wanted
        return wanted

    def send(self, method: str, path: str) -> dict[str, Any]:
        assert method == "DELETE"
        return self.objects.pop(path)


@pytest.fixture
def at(tmp_path: Path) -> Any:
    for path in ("addons/dashboard/admin", "clusters/local"):
        (tmp_path / "local/gitops" / path).mkdir(parents=True)
    (tmp_path / "local/gitops/clusters/local/kustomization.yaml").write_text("resources:\n  - ../../apps/hello\n")
    lab = Lab(tmp_path, Settings(), "kind")
    return SimpleNamespace(
        root=lab.root,
        settings=lab.settings,
        context=lab.context,
        api=Server(),
        channel="release",
        tools={"kubectl": Path("kubectl")},
    )


def text(at: Any) -> str:
    return declare.file(at).read_text(encoding="utf-8")


def test_an_add_on_is_declared_once_and_taken_out_with_all_that_is_below_it(at: Any) -> None:
    home = declare.directory(at, "dashboard")
    assert declare.declare(at, [home, home / "admin"])
    assert text(at).endswith("  - ../../addons/dashboard\n  - ../../addons/dashboard/admin\n")
    assert not declare.declare(at, [home])
    assert declare.withdraw(at, "dashboard")
    assert text(at) == "resources:\n  - ../../apps/hello\n"
    assert not declare.withdraw(at, "dashboard")
    assert [path.name for path in declare.file(at).parent.iterdir()] == ["kustomization.yaml"]


def test_a_project_without_the_manifests_gets_ours_and_keeps_its_own(at: Any) -> None:
    directory = declare.directory(at, "ingress")
    index = directory / "kustomization.yaml"
    assert index.read_text() == templates.read("local/gitops/addons/ingress/kustomization.yaml")
    index.write_text("its own\n")
    (directory / "hello/route.yaml").unlink()
    assert declare.directory(at, "ingress") == directory
    assert (index.read_text(), (directory / "hello/route.yaml").exists()) == ("its own\n", False)


def test_the_server_checks_known_kinds_in_an_existing_namespace(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(argv: list[str], **options: Any) -> Completed:
        assert "--dry-run=server" in argv
        asked.append(options["stdin"])
        return Completed((), 0, "", "", 0.0)

    monkeypatch.setattr(process, "run", run)
    seen = declare.check(at, [DEPLOYMENT, GATEWAY])
    assert (seen.accepted, seen.unknown) == (("Deployment new/app",), ("Gateway old/g",))
    assert '"namespace": "default"' in asked[0]
    assert "Gateway" not in asked[0]
    assert DEPLOYMENT["metadata"] == {"name": "app", "namespace": "new"}
    assert declare.check(at, [GATEWAY]).accepted == ()


def test_a_refusal_has_the_servers_message(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", lambda *_, **__: Completed((), 1, "", "no such field", 0.0))
    with pytest.raises(UsageError, match="the API server refuses") as refused:
        declare.check(at, [DEPLOYMENT])
    assert refused.value.evidence == "no such field"


def test_from_source_only_the_images_of_nodes_are_available(at: Any) -> None:
    at.channel = "source"
    missing = declare.unavailable(at, [DEPLOYMENT, *CHARTED])
    assert [(each.kind, each.name) for each in missing] == [("image", IMAGE), ("chart", CHART)]
    with pytest.raises(ToolError, match=f"dashboard is not declared: the image {IMAGE} and the chart") as refused:
        declare.require(missing, "dashboard")
    assert f"image.load --images {IMAGE}" in refused.value.fix
    at.api.held = [IMAGE]
    assert declare.unavailable(at, [DEPLOYMENT]) == {}
    declare.require({}, "dashboard")


def test_in_the_channel_release_the_registries_are_asked(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"https://ghcr.io/v2/": "", "https://charts.invalid/index.yaml": "no such host"}
    monkeypatch.setattr(reach, "why_not", lambda urls: {url: answers[url] for url in urls})
    missing = declare.unavailable(at, [DEPLOYMENT, *CHARTED])
    assert missing == {Artifact("chart", CHART, "https://charts.invalid/index.yaml"): "no such host"}
    with pytest.raises(ToolError, match=f"the chart {CHART} is not available") as refused:
        declare.require(missing, "agent")
    assert refused.value.fix.endswith("--channel release")


def test_without_an_engine_the_registries_are_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Engineless:
        api = Server()

        @property
        def channel(self) -> str:
            raise EngineError("no container engine is installed here")

    monkeypatch.setattr(reach, "why_not", lambda urls: dict.fromkeys(urls, ""))
    assert declare.unavailable(Engineless(), [DEPLOYMENT]) == {}  # type: ignore[arg-type]


def test_the_definitions_are_copied_once_and_are_whole_with_their_kustomization(
    at: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published = tmp_path / "module" / "config" / "crd" / "standard"
    published.mkdir(parents=True)
    (published / "b.yaml").write_text("b")
    (published / "a.yaml").write_text("a")
    monkeypatch.setattr(golang, "module_source", lambda *_: tmp_path / "module")
    target = declare.definitions(at)
    assert (target / "kustomization.yaml").read_text().endswith("resources:\n  - a.yaml\n  - b.yaml\n")
    monkeypatch.setattr(golang, "module_source", lambda *_: pytest.fail("they are there"))
    assert declare.definitions(at) == target


def test_the_agent_s_token_goes_into_a_secret_of_ours_and_out_again(at: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("glagent-word\n")
    declare.agent_token(at.api, file)
    secret = at.api.objects["/api/v1/namespaces/gitlab-agent/secrets/gitlab-agent-token"]
    assert secret["stringData"] == {"token": "glagent-word"}
    assert redaction.redact("x glagent-word") == "x ***"
    assert declare.forget_agent(at.api)
    assert "/api/v1/namespaces/gitlab-agent" not in at.api.objects, "deleted with everything in it"
    at.api.objects.clear()
    assert not declare.forget_agent(at.api)
    at.api.apply("/api/v1/namespaces/gitlab-agent/secrets/gitlab-agent-token", {"metadata": {}})
    assert not declare.forget_agent(at.api), "somebody else's"


def test_a_namespace_that_flux_has_taken_over_stays_when_the_token_goes(at: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("glagent-word")
    declare.agent_token(at.api, tmp_path / "token")
    namespace = at.api.objects["/api/v1/namespaces/gitlab-agent"]
    namespace["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] = "lab"
    assert declare.forget_agent(at.api)
    assert list(at.api.objects) == ["/api/v1/namespaces/gitlab-agent"]


@pytest.mark.parametrize("content", ["", "  \n", "two words", "line\nline", "x" * 5000])
def test_an_invalid_token_is_refused_before_anything_is_applied(at: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(UsageError, match="holds no token"):
        declare.agent_token(at.api, tmp_path / "token")
    with pytest.raises(UsageError, match="cannot be read"):
        declare.agent_token(at.api, tmp_path / "nothing")
    assert at.api.objects == {}
