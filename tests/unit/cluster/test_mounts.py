"""The user's own files behind a mount: nothing is written through it, and what they should say is shown."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from threezone.clients.kind import Node
from threezone.cluster import containers, local_registry, marks
from threezone.cluster.containers import Container, Mount
from threezone.core import events, process
from threezone.core.errors import EngineError
from threezone.core.process import Completed
from threezone.images import registry, registry_login

NODE = Node("id-1", "lab-control-plane", "lab", "control-plane", "running", "threezone/node:v1.35.0-lab", ours=True)
OTHER = Node("id-2", "two-control-plane", "two", "control-plane", "running", "threezone/node:v1.35.0-two", ours=True)
REGISTRY = registry.instances("threezone-registry", 5001, ["docker.io"])
PASSWORD = "known-to-the-nodes-only"
CERTS = "/etc/containerd/certs.d"
OURS = {f"{CERTS}/{name}/hosts.toml" for name in ("localhost:5001", "threezone-registry:5001", "docker.io")}

# As `docker inspect` of Docker 28.2 shows what kind mounts by itself.
KINDS: list[dict[str, Any]] = [
    {"Type": "bind", "Source": "/lib/modules", "Destination": "/lib/modules", "Mode": "ro", "RW": False,
     "Propagation": "rprivate"},
    {"Type": "volume", "Name": "9f4ce1eb", "Source": "/var/lib/docker/volumes/9f4ce1eb/_data", "Destination": "/var",
     "Driver": "local", "Mode": "", "RW": True, "Propagation": ""},
]  # fmt: skip


def bind(target: str, *, writable: bool = True, source: str = "/home/me/files") -> dict[str, Any]:
    """A mount of the user's as `docker inspect` shows it."""
    return {"Type": "bind", "Source": source, "Destination": target, "Mode": "" if writable else "ro", "RW": writable,
            "Propagation": "rprivate"}  # fmt: skip


@dataclass
class Engine:
    """A fake engine: its nodes with their mounts and the user's files, and what was written into which node."""

    mounts: dict[str, list[dict[str, Any]]]
    files: dict[str, str] = field(default_factory=dict)
    written: set[tuple[str, str]] = field(default_factory=set)
    removed: set[tuple[str, str]] = field(default_factory=set)
    announced: set[str] = field(default_factory=set)

    def run(self, argv: Sequence[Any], *, stdin: Any = None, **_: Any) -> Completed:
        words = [str(part) for part in argv]
        match words[1:]:
            case ["container", "inspect", *ids]:
                shown = [{"Id": each, "Mounts": [*KINDS, *self.mounts.get(each, [])]} for each in ids]
                return Completed((), 0, json.dumps(shown), "", 0.0)
            case ["cp", "-", target]:
                with tarfile.open(fileobj=io.BytesIO(stdin)) as archive:
                    self.written |= {(target.partition(":")[0], f"/{name}") for name in archive.getnames()}
            case ["cp", "--follow-link", source, "-"]:
                path = source.partition(":")[2]
                if path not in self.files:
                    return Completed((), 1, "", "Could not find the file", 0.0)
                made = io.BytesIO()
                with tarfile.open(fileobj=made, mode="w") as archive:
                    entry = tarfile.TarInfo("hosts.toml")
                    entry.size = len(self.files[path])
                    archive.addfile(entry, io.BytesIO(self.files[path].encode()))
                return Completed((), 0, made.getvalue().decode(), "", 0.0)
            case ["exec", container, "rm", "-rf", *paths]:
                self.removed |= {(container, path) for path in paths}
            case ["exec", "--interactive", container, *rest] if "apply" in rest:
                self.announced.add(container)
        return Completed((), 0, "", "", 0.0)


@pytest.fixture
def notes() -> Iterator[list[str]]:
    found: list[str] = []
    with events.listening(lambda event: found.append(event.text) if event.kind == "note" else None):
        yield found


def engine(monkeypatch: pytest.MonkeyPatch, mounts: dict[str, list[dict[str, Any]]], **files: str) -> Engine:
    made = Engine(mounts, {"/var/lib/registry/threezone/password": PASSWORD, **files})
    monkeypatch.setattr(process, "run", made.run)
    return made


def test_kinds_own_mounts_are_not_the_users() -> None:
    shown = Container(NODE, {"Mounts": [*KINDS, bind("/etc/containerd/certs.d"), bind("/etc", source="/srv")]})
    assert shown.mounts == (Mount("/srv", "/etc"), Mount("/home/me/files", "/etc/containerd/certs.d"))


@pytest.mark.parametrize(
    ("target", "overlaps"),
    [
        ("/etc/containerd/certs.d", True),
        ("/etc/containerd/certs.d/", True),
        ("/etc", True),
        ("/etc/containerd/certs.d/docker.io/hosts.toml", True),
        ("/etc/containerd/certs.d-old", False),
        ("/etc/containerd/certs", False),
        ("/lib/modules", False),
    ],
)
def test_a_mount_above_at_or_below_a_path_overlaps_it(target: str, overlaps: bool) -> None:
    assert Mount("/home/me/files", target).overlaps(CERTS) is overlaps


def test_without_a_mount_every_file_is_written_and_removed(monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> None:
    fake = engine(monkeypatch, {})
    assert local_registry.configure([NODE], REGISTRY) == ("lab",)
    assert fake.written == {("id-1", path) for path in OURS}
    assert fake.announced == {"id-1"}
    local_registry.unconfigure([NODE], REGISTRY)
    assert fake.removed == {("id-1", path.removesuffix("/hosts.toml")) for path in OURS}
    assert notes == []


@pytest.mark.parametrize("target", ["/etc/containerd/certs.d", "/etc/containerd", "/etc"])
@pytest.mark.parametrize("writable", [True, False])
def test_nothing_is_written_or_removed_through_a_mount(
    monkeypatch: pytest.MonkeyPatch, notes: list[str], target: str, writable: bool
) -> None:
    fake = engine(monkeypatch, {"id-1": [bind(target, writable=writable)]})
    assert local_registry.configure([NODE, OTHER], REGISTRY) == ("two",)
    assert fake.written == {("id-2", path) for path in OURS}, "the other cluster has no such mount"
    assert fake.announced == {"id-2"}
    below = f"/home/me/files{CERTS.removeprefix(target)}"
    hint = next(note for note in notes if f"{below}/localhost:5001/hosts.toml" in note)
    assert 'server = "http://threezone-registry:5001"' in hint
    assert not [note for note in notes if PASSWORD in note or registry_login.basic(PASSWORD) in note]
    local_registry.unconfigure([NODE], REGISTRY)
    assert fake.removed == set()


def test_files_outside_the_mount_are_still_written(monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> None:
    mounted = f"{CERTS}/docker.io/hosts.toml"
    fake = engine(monkeypatch, {"id-1": [bind(mounted, source="/home/me/hub.toml")]})
    assert local_registry.configure([NODE], REGISTRY) == ("lab",), "a mirror is no condition for the registry"
    assert fake.written == {("id-1", path) for path in OURS - {mounted}}
    assert [note.split()[0] for note in notes] == ["/home/me/hub.toml"]
    local_registry.unconfigure([NODE], REGISTRY)
    assert ("id-1", f"{CERTS}/docker.io") not in fake.removed
    assert ("id-1", f"{CERTS}/localhost:5001") in fake.removed


def test_the_users_own_hosts_file_with_the_same_host_is_accepted(
    monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    own = {f"/{path}": f"# mine\n{text}" for path, text in local_registry.hosts_files(REGISTRY, "").items()}
    fake = engine(monkeypatch, {"id-1": [bind(CERTS)]}, **own)
    assert local_registry.configure([NODE], REGISTRY) == ("lab",)
    assert (fake.written, fake.announced, notes) == (set(), {"id-1"}, [])
    fake.files[f"{CERTS}/localhost:5001/hosts.toml"] = "server = no TOML"
    assert local_registry.configure([NODE], REGISTRY) == ()


def test_mounts_are_keyed_by_container(monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch, {"id-1": [bind("/var/lib/containerd", source=str(Path("/cache")))]})
    assert containers.mounts([NODE, OTHER], "/var/lib/containerd") == {"id-1": Mount("/cache", "/var/lib/containerd")}
    assert containers.mounts([NODE, OTHER], "/var/lib/threezone/git") == {}, "kind's own volume holds it"


@pytest.mark.parametrize(
    ("words", "marked"),
    [
        ("", True),
        (f"Error response from daemon: Could not find the file {marks.MARK} in container id-1", False),
        ("Error response from daemon: No such container: id-1", False),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", None),
        ("failed to connect to the docker API: dial unix /run/docker.sock: connect: no such file or directory", None),
        ("Error response from daemon: error creating temporary mount: no space left on device", None),
    ],
)
def test_only_an_absent_mark_means_an_interrupted_create(
    monkeypatch: pytest.MonkeyPatch, words: str, marked: bool | None
) -> None:
    monkeypatch.setattr(process, "run", lambda *_, **__: Completed((), 1 if words else 0, "", words, 0.0))
    if marked is None:
        with pytest.raises(EngineError):
            marks.is_marked(NODE)
    else:
        assert marks.is_marked(NODE) is marked
