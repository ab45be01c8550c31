"""What the docker client makes of the program's answers."""

import json
from pathlib import Path

import pytest
from tests.fakes import failed, fake_docker

from threezone.clients.docker import containers, images, networks, volumes
from threezone.core.errors import CommandFailed, EngineError
from threezone.core.process import Completed

STOPPED = failed("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?")


def test_containers_are_listed_with_the_fields_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_docker(monkeypatch, lambda _: "1\tone\t\n2\ttwo\tlab\n")
    listed = containers.ls("label=x", fields=("ID", "Names", containers.label("x")))
    assert listed == [("1", "one", ""), ("2", "two", "lab")]
    assert commands[0][-1] == '{{.ID}}\t{{.Names}}\t{{.Label "x"}}'


@pytest.mark.parametrize(
    ("ports", "published"),
    [
        ("127.0.0.1:6443->6443/tcp", [("127.0.0.1", 6443, 6443, "tcp")]),
        (
            "127.0.0.1:6442-6443->6442-6443/tcp, 90/tcp",
            [("127.0.0.1", 6442, 6442, "tcp"), ("127.0.0.1", 6443, 6443, "tcp")],
        ),
        ("10.0.0.1:53->30053/udp, [::]:53->30053/udp", [("10.0.0.1", 53, 30053, "udp"), ("::", 53, 30053, "udp")]),
        (":::80->80/tcp", [("::", 80, 80, "tcp")]),
        ("", []),
    ],
)
def test_published_ports_are_read_with_their_ranges(ports: str, published: list[tuple[object, ...]]) -> None:
    assert list(containers.published(ports)) == published


@pytest.mark.parametrize("ask", [containers.ls, images.ids, networks.names, lambda: volumes.ls("x")])
def test_an_engine_that_does_not_run_is_said(monkeypatch: pytest.MonkeyPatch, ask: object) -> None:
    fake_docker(monkeypatch, lambda _: STOPPED)
    with pytest.raises(EngineError) as refused:
        ask()  # type: ignore[operator]
    assert "docker daemon" in refused.value.evidence
    assert refused.value.fix


def test_a_container_that_is_gone_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_docker(monkeypatch, lambda _: Completed((), 1, json.dumps([{"Id": "1"}]), "No such container: 2", 0.1))
    assert containers.inspect("1", "2") == [{"Id": "1"}]
    assert containers.inspect() == []


def test_an_image_that_is_not_there_is_left_out_and_an_error_is_not_taken_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_docker(monkeypatch, lambda _: Completed((), 1, '[{"Id": "1"}]', "Error: No such image: b\n", 0.1))
    assert images.inspect("a", "b") == [{"Id": "1"}]
    fake_docker(monkeypatch, lambda _: STOPPED)
    with pytest.raises(EngineError):
        images.inspect("a", "b")


def test_a_network_that_is_not_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_docker(monkeypatch, lambda _: failed("Error response from daemon: network x not found"))
    assert networks.inspect("x") is None


def test_nothing_is_asked_where_nothing_is_to_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_docker(monkeypatch, lambda _: "")
    containers.remove()
    images.remove()
    volumes.remove()
    assert commands == []


def test_a_temporary_container_is_removed_before_and_after_also_when_the_work_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = fake_docker(monkeypatch, lambda argv: failed("no") if argv[0] == "exec" else "")
    with pytest.raises(CommandFailed), containers.temporary("image", "name", 60):
        containers.execute("name", "false")
    assert [argv[0] for argv in commands] == ["rm", "run", "exec", "rm"]


def test_a_secret_of_the_environment_is_given_to_a_build_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_docker(monkeypatch, lambda _: "")
    images.build("a:1", Path("/context"), labels={"a": "b"}, arguments=["HTTP_PROXY"])
    assert {"--build-arg=HTTP_PROXY", "--label=a=b"} <= set(commands[-1])


OLD_CLIENT = failed("unknown flag: --platform\nSee 'docker save --help'.", 125)
OLD_ENGINE = failed('"--platform" requires API version 1.48, but the Docker daemon API version is 1.41')
NOT_THERE = failed(
    "Error response from daemon: no suitable export target found: image with reference app:1 was found "
    "but does not provide the specified platform (linux/arm64)"
)
SAVE = ["save", "--output", "a.tar", "app:1"]
SAVE_ONE = ["save", "--platform=linux/arm64", *SAVE[1:]]


@pytest.mark.parametrize("refusal", [OLD_CLIENT, OLD_ENGINE, NOT_THERE], ids=["client", "engine", "not there"])
def test_one_platform_is_saved_or_what_there_is(monkeypatch: pytest.MonkeyPatch, refusal: Completed) -> None:
    commands = fake_docker(monkeypatch, lambda argv: refusal if argv == SAVE_ONE else "")
    images.save(Path("a.tar"), "app:1", architecture="arm64")
    assert commands == [SAVE_ONE, SAVE]
    commands = fake_docker(monkeypatch, lambda _: "")
    images.save(Path("a.tar"), "app:1", architecture="arm64")
    images.save(Path("a.tar"), "app:1")
    assert commands == [SAVE_ONE, SAVE]


def test_another_failure_of_saving_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_docker(monkeypatch, lambda _: failed("write a.tar: no space left on device"))
    with pytest.raises(CommandFailed, match="--platform"):
        images.save(Path("a.tar"), "app:1", architecture="arm64")
    assert commands == [SAVE_ONE]
