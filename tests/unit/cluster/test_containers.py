import io
import tarfile
from datetime import UTC, datetime

import pytest

from threezone.clients.docker import containers
from threezone.clients.kind import Node
from threezone.cluster.containers import Container, moment
from threezone.core import process
from threezone.core.process import Completed

NODE = Node("0123", "lab-control-plane", "lab", "control-plane", "running", "threezone/node:v1.35.0-lab", ours=True)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21T15:32:26.123456789Z", datetime(2026, 11, 21, 15, 32, 26, 123456, UTC)),
        ("2026-11-21T15:32:26Z", datetime(2026, 11, 21, 15, 32, 26, 0, UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_times_as_docker_and_kubernetes_write_them(text: str, time: datetime | None) -> None:
    assert moment(text) == time


def test_a_stopped_container_was_not_started_and_keeps_its_volumes() -> None:
    state = {"Running": False, "StartedAt": "2026-11-21T15:32:26Z"}
    mounts = [{"Type": "volume", "Name": "abc"}, {"Type": "bind", "Source": "/lib/modules"}]
    seen = Container(NODE, {"State": state, "Mounts": mounts, "NetworkSettings": {"Networks": {"kind": None}}})
    assert (seen.started, seen.volumes, seen.addresses) == (None, ("abc",), ())
    assert Container(NODE, {"State": {**state, "Running": True}}).started is not None


def test_a_file_of_a_container_is_read_out_of_the_archive_that_the_engine_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len("grüße\n".encode())
        archive.addfile(entry, io.BytesIO("grüße\n".encode()))
    monkeypatch.setattr(process, "run", lambda argv, **_: Completed(tuple(argv), 0, made.getvalue().decode(), "", 0.1))
    assert containers.read("0123", "/file") == "grüße\n".encode()
    monkeypatch.setattr(process, "run", lambda argv, **_: Completed(tuple(argv), 1, "", "no such file", 0.1))
    assert containers.read("0123", "/file") is None
