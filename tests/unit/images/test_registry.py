"""The local registry as data: what is started, where it listens, when it is started anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from threezone.core import labels, settings
from threezone.core.errors import CommandFailed, UsageError
from threezone.core.plan import StepKind
from threezone.images import build, programs, registry, registry_login
from threezone.images.registry import Instance, LiveInstance

NAME = "threezone-registry"
(ONE,) = registry.instances(NAME, 5001)
IMAGE = "threezone/registry:3.1.2-abc"


def seen(wanted: Instance = ONE, state: str = "running", network: str = "kind") -> LiveInstance:
    made_from = registry.recipe(wanted, IMAGE, network)
    return LiveInstance(wanted.name, state, IMAGE, made_from, wanted.port, wanted.upstream)


def keys(wanted: tuple[Instance, ...], now: dict[str, LiveInstance], network: str = "kind") -> list[str]:
    return [
        f"-{step.target}" if step.kind is StepKind.STOP_REGISTRY else step.target
        for step in registry.plan(wanted, now, IMAGE, network)
    ]


def test_the_registry_is_published_on_loopback_without_privileges() -> None:
    argv = registry.command(ONE, IMAGE, "kind")
    assert [each for each in argv if each.startswith("--publish")] == ["--publish=127.0.0.1:5001:5001"]
    assert {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"} <= set(argv)
    assert argv[argv.index("--network") + 1] == "kind"
    assert f"{NAME}:/var/lib/registry" in argv
    assert f"--label={labels.REGISTRY}={NAME}/5001/" in argv
    assert set(registry_login.options(registry.STORE)) <= set(argv), "it asks for a login"


def test_a_mirror_is_published_nowhere_and_fetches_from_its_registry() -> None:
    _, mirror = registry.instances(NAME, 5001, ["docker.io"])
    argv = registry.command(mirror, IMAGE, "kind")
    assert not [each for each in argv if each.startswith("--publish")]
    assert "--env=REGISTRY_PROXY_REMOTEURL=https://registry-1.docker.io" in argv
    assert mirror.name == "threezone-registry-docker-io"


def test_a_running_registry_needs_no_step() -> None:
    assert keys((ONE,), {NAME: seen()}) == []


@pytest.mark.parametrize(
    ("now", "network"),
    [
        ({}, "kind"),
        ({NAME: seen(state="exited")}, "kind"),
        ({NAME: seen(network="bridge")}, "kind"),
        ({NAME: seen(Instance(NAME, 5002, of=NAME))}, "kind"),
    ],
)
def test_a_missing_stopped_or_changed_registry_is_started(now: dict[str, LiveInstance], network: str) -> None:
    assert keys((ONE,), now, network) == [NAME]


def test_a_mirror_that_left_the_settings_is_stopped() -> None:
    both = registry.instances(NAME, 5001, ["docker.io"])
    now = {each.name: seen(each) for each in both}
    assert keys(both, now) == []
    assert keys((ONE,), now) == ["-threezone-registry-docker-io"]


def test_an_instance_is_decoded_from_the_engines_description() -> None:
    document = {
        "Name": f"/{NAME}",
        "State": {"Status": "running"},
        "Config": {"Image": IMAGE, "Labels": {labels.REGISTRY: f"{NAME}/5001/docker.io", "io.threezone.recipe": "r"}},
    }
    assert registry._decode(document) == (NAME, LiveInstance(NAME, "running", IMAGE, "r", 5001, "docker.io"))


def test_its_images_are_pinned_in_both_channels() -> None:
    (released,), (built,) = (build.references(build.REGISTRY, channel) for channel in ("release", "source"))
    assert released.startswith("docker.io/library/registry:3.1.2@sha256:")
    assert built.startswith("threezone/registry:3.1.2-")
    assert programs.REGISTRY.in_version("3.1.2")[0].version == "v3.1.2"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("Bind for 127.0.0.1:5001 failed: port is already allocated", "port 5001 on 127.0.0.1 is taken"),
        ("listen tcp4 127.0.0.1:5001: bind: address already in use", "port 5001 on 127.0.0.1 is taken"),
        ('The container name "/threezone-registry" is already in use by container "1"', "did not create"),
    ],
)
def test_a_failed_start_names_cause_and_fix(words: str, sentence: str) -> None:
    error = registry._explained(CommandFailed(["docker", "run"], 125, words), ONE)
    assert isinstance(error, UsageError)
    assert sentence in error.message
    assert error.fix


def test_a_mirror_that_is_no_host_is_refused_with_its_key() -> None:
    path = Path("invoke.yaml")
    chosen = settings.parse({"registry": {"port": 5002, "mirrors": ["docker.io", "ghcr.io"]}}, path).registry
    assert (chosen.port, chosen.mirrors) == (5002, ("docker.io", "ghcr.io"))
    for wrong in (["https://docker.io"], "docker.io", [1]):
        with pytest.raises(UsageError, match=r"threezone\.registry\.mirrors.*: expected a list of host names"):
            settings.parse({"registry": {"mirrors": wrong}}, path)
