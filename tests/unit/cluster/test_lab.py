"""What the settings and the engine add to the declared cluster."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from threezone.clients.kind import Node
from threezone.cluster import create, lifecycle
from threezone.cluster.drift.detect import Drift
from threezone.cluster.drift.live import LiveCluster
from threezone.cluster.drift.rows import Row
from threezone.cluster.lab import Lab
from threezone.cluster.lifecycle import Observed
from threezone.cluster.spec import api_endpoint
from threezone.cluster.spec.declared import Declared, Overlay, parse
from threezone.core.errors import EngineError, UsageError
from threezone.core.plan import StepKind
from threezone.core.settings import Cluster, ClusterOptions, Published, Settings
from threezone.engine.find import Engine
from threezone.images import build, preload
from threezone.lab import up
from threezone.tasks import options as tasks
from threezone.toolchain import install

LOCAL = "unix:///var/run/docker.sock"
NATIVE = Engine("ok", LOCAL, version="28.0.0", system="Debian GNU/Linux 12 (bookworm)", cgroup="2")
DECLARED = parse("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", Path("kind.yaml"))


def lab_of(api: Published, engine: Engine, declared: Declared = DECLARED) -> Lab:
    made = Lab(Path("/project"), Settings(cluster=Cluster(api=api)), "lab", requested_channel="release")
    made.__dict__.update(engine=engine, declared=declared)
    return made


def needed(of: Lab) -> tuple[Overlay, ...]:
    """What is added and not merely quicker."""
    return tuple(each for each in of.overlays if not each.defaults)


def test_on_loopback_nothing_is_needed_and_nothing_is_asked() -> None:
    made = lab_of("loopback", NATIVE)
    assert (needed(made), made.published) == ((), ())
    assert len(made.overlays) == 1, "what is quicker"


def test_the_gateway_of_a_rootless_engine_is_refused() -> None:
    engine = Engine("ok", LOCAL, version="28.0.0", system="Debian GNU/Linux 12 (bookworm)", rootless=True)
    with pytest.raises(EngineError, match=r"threezone\.cluster\.api is gateway, but"):
        _ = lab_of("gateway", engine).overlays


def test_an_engine_in_a_virtual_machine_keeps_the_api_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    desktop = Engine("ok", LOCAL, version="28.0.0", system="Docker Desktop")
    assert lab_of("gateway", desktop).published == (api_endpoint.DESKTOP,)
    monkeypatch.setattr("sys.platform", "darwin")
    assert lab_of("gateway", NATIVE).published == (api_endpoint.DESKTOP,), "a Linux engine on another system is in one"


@pytest.mark.parametrize(("ports", "told"), [("127.0.0.1:6443->6443/tcp", False), ("10.0.0.1:6443->6443/tcp", True)])
def test_a_cluster_of_ours_that_is_published_elsewhere_gets_a_notice(ports: str, told: bool) -> None:
    ours = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=True, ports=ports)
    theirs = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=False, ports=ports)
    assert bool(up.notice(lab_of("loopback", NATIVE), [ours])) is told
    assert up.notice(lab_of("loopback", NATIVE), [theirs]) == ""
    assert up.notice(lab_of("loopback", NATIVE), []) == ""


THREE = parse(
    "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n" + "- role: control-plane\n" * 3, Path("ha.yaml")
)


def test_the_balancer_is_an_image_of_several_control_planes_only() -> None:
    assert lab_of("loopback", NATIVE).images == ("node", "flux", "git-server", "hello")
    assert lab_of("loopback", NATIVE, THREE).images == ("node", "flux", "git-server", "hello", "balancer")


def test_the_kubernetes_of_the_settings_decides_the_node() -> None:
    made = Lab(Path("/project"), Settings(cluster=Cluster(kubernetes="1.34")), "lab", requested_channel="release")
    made.__dict__.update(engine=replace(NATIVE, cgroup="1"), declared=DECLARED)
    assert (made.kubernetes, made.images[0]) == ("v1.34.3", "node:1.34.3")
    assert needed(made) == (), "Kubernetes before 1.35 takes cgroup v1 as it is"


def test_the_balancers_image_is_supplied_only_for_several_control_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "find", lambda *_, **__: object())
    monkeypatch.setattr(build, "observe", lambda names, _: {name: () for name in names if name != "balancer"})
    monkeypatch.setattr(preload, "observe", lambda *_: (None, True))
    assert create.supplies(lab_of("loopback", NATIVE)) == ()
    (action,) = create.supplies(lab_of("loopback", NATIVE, THREE))
    assert action.sentence.startswith("get the images balancer (")
    assert action.command == "./run invoke image.build balancer"


def test_a_channel_without_the_wanted_kubernetes_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def observe(names: Sequence[str], channel: build.Channel) -> dict[str, tuple[()]]:
        for name in names:
            build.references(name, channel)
        return dict.fromkeys(names, ())

    monkeypatch.setattr(build, "observe", observe)
    made = Lab(Path("/project"), Settings(cluster=Cluster(kubernetes="1.36")), "lab", requested_channel="auto")
    own = Lab(Path("/project"), Settings(), "lab", requested_channel="auto")
    own.__dict__.update(declared=DECLARED)
    assert (made.channel, own.channel) == ("source", "release")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with settings of its own, and a place below it to stand at."""
    (tmp_path / "tasks.py").write_text("")
    (tmp_path / "kind.yaml").write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/two.yaml").write_text(
        "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- image: kindest/node:v1.35.0\n- role: worker\n"
        "  image: kindest/node:v1.35.0\n"
    )
    (tmp_path / "invoke.yaml").write_text(
        "threezone: {cluster: {config: kind.yaml, workers: 2, mounts: ['data:/data'], overlay: "
        "{networking: {ipFamily: ipv6}}}}\n"
    )
    monkeypatch.chdir(tmp_path / "other")
    return tmp_path


def test_the_declared_cluster_is_the_file_then_the_settings_then_the_flags(project: Path) -> None:
    seen: Declared = tasks.open_lab(
        **declaring(workers=1, ports=("8080:80",), sets=("networking.podSubnet=fd00::/56",))
    ).declared
    assert seen.path == project / "kind.yaml"
    assert seen.networking == {"ipFamily": "ipv6", "podSubnet": "fd00::/56"}
    assert [node["role"] for node in seen.nodes] == ["control-plane", "worker"]
    assert seen.nodes[1]["extraMounts"] == [{"hostPath": str(project / "data"), "containerPath": "/data"}]
    assert seen.nodes[0]["extraPortMappings"][0]["listenAddress"] == "::1"
    assert [sentence.rpartition("(")[2] for sentence in seen.changes] == [
        f"{project / 'invoke.yaml'}:1)",
        "invoke.yaml: threezone.cluster.workers 2)",
        "invoke.yaml: threezone.cluster.mounts data:/data)",
        "--workers 1)",
        "--set networking.podSubnet=fd00::/56)",
        "--port 8080:80)",
    ]


def test_a_relative_config_path_starts_from_the_working_directory(project: Path) -> None:
    at = tasks.open_lab(**declaring(config="two.yaml", mounts=("data:/more:ro",)))
    assert at.declared.path == project / "other" / "two.yaml"
    assert at.declared.nodes[0]["extraMounts"][1]["hostPath"] == str(project / "other" / "data")
    assert at.requested_kubernetes == "1.35.0"
    assert tasks.open_lab(**declaring(config="two.yaml", kubernetes="v1.34")).requested_kubernetes == "1.34"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("version", ["latest", "2.0", "1.35.0.1", "1.35\n"])
def test_an_invalid_kubernetes_version_is_refused(version: str) -> None:
    with pytest.raises(UsageError, match="expected a version such as"):
        tasks.open_lab(**declaring(kubernetes=version))


def named(project: Path, in_file: str, in_settings: str = "kind") -> None:
    """Give the cluster a name in the file two.yaml and in the settings."""
    file = project / "other/two.yaml"
    file.write_text(f"{file.read_text()}name: {in_file}\n")
    (project / "invoke.yaml").write_text(f"threezone: {{cluster: {{config: kind.yaml, name: {in_settings}}}}}\n")


@pytest.mark.parametrize(
    ("in_settings", "flag", "name", "chosen"),
    [
        ("kind", "", "two", True),
        ("lab", "", "lab", False),
        ("two", "", "two", True),
        ("kind", "mine", "mine", True),
        ("lab", "kind", "kind", True),
    ],
)
def test_the_name_is_that_of_the_flag_then_the_settings_then_the_file(
    project: Path, in_settings: str, flag: str, name: str, chosen: bool
) -> None:
    named(project, "two", in_settings)
    made = tasks.open_lab(flag, **declaring(config="two.yaml"))
    assert (made.name, made.context, made.name_is_chosen) == (name, f"kind-{name}", chosen)
    assert tasks.open_lab().name == in_settings


def test_a_name_in_the_file_is_checked_as_any_other(project: Path) -> None:
    named(project, "x" * 51)
    with pytest.raises(UsageError):
        tasks.open_lab(**declaring(config="two.yaml"))


BLOCKED = Drift((Row("kubernetes", "v1.35.0", "v1.34.3", "new cluster", "its image"),), (), LiveCluster("lab", ()))


def test_a_cluster_that_nobody_chose_for_this_file_is_not_deleted(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(project, "two", "lab")
    made = tasks.open_lab(**declaring(config="two.yaml"))
    made.__dict__.update(kubernetes="v1.35.0", overlays=())
    assert up.changes(made, BLOCKED, recreate=False) == (), "nothing is lost by that"
    with pytest.raises(UsageError, match=r"two\.yaml names the cluster two, and invoke.yaml lab") as caught:
        up.changes(made, BLOCKED, recreate=True)
    assert "up --recreate --config two.yaml --name two" in caught.value.fix
    assert "up --recreate --config two.yaml --name lab" in caught.value.fix
    monkeypatch.setattr(lifecycle, "observe", lambda name: Observed(name, "interrupted"))
    with pytest.raises(UsageError, match="only when you say which"):
        up.cluster_plan(made)
    monkeypatch.setattr(create, "supplies", lambda _: ())
    chosen = tasks.open_lab("lab", **declaring(config="two.yaml"))
    chosen.__dict__.update(kubernetes="v1.35.0", overlays=())
    plan = up.cluster_plan(chosen)
    assert plan[0].kind is StepKind.DELETE_CLUSTER
    assert "names the cluster two; it is lab here" in plan[1].sentence


def declaring(**options: Any) -> dict[str, Any]:
    """The options of `up` and `cluster.create` for the lab that a task opens."""
    return {"changes": ClusterOptions(**options)}
