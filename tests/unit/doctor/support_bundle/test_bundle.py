"""The archive of logs: whole or not at all, and nothing in it that a specification may hide."""

import base64
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from threezone.clients.kubernetes.api import Api, Json, Refused
from threezone.core.errors import UsageError
from threezone.doctor.support_bundle import bundle
from threezone.doctor.support_bundle.bundle import _archive, of_secrets
from threezone.doctor.support_bundle.contents import events, without_settings


def test_an_archive_is_for_its_owner_and_holds_what_was_added(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "lab-1.tar.gz"
    with _archive(target) as add:
        assert (add("a/b.txt", "grüße"), add("c.txt", "")) == (1, 2)
        assert not target.exists(), "it is there when it is whole"
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as opened:
        assert opened.getnames() == ["lab-1/a/b.txt", "lab-1/c.txt"]
        stream = opened.extractfile("lab-1/a/b.txt")
        assert stream is not None
        assert stream.read().decode() == "grüße"


def test_a_failure_leaves_no_archive(tmp_path: Path) -> None:
    def interrupted() -> None:
        with _archive(tmp_path / "lab.tar.gz") as add:
            add("a.txt", "words")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".lab.tar.gz.0123456789ab.threezone").write_text("half")
    with _archive(tmp_path / "lab.tar.gz") as add:
        add("a.txt", "words")
    assert [path.name for path in tmp_path.iterdir()] == ["lab.tar.gz"]


def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"), _archive(tmp_path / "file" / "lab.tar.gz"):
        pytest.fail("there is no such directory")


def test_objects_are_shown_by_their_state_and_not_by_what_their_authors_wrote() -> None:
    item: Json = {
        "kind": "Pod",
        "metadata": {"name": "web", "annotations": {"last-applied": "hunter2"}, "managedFields": [{}]},
        "spec": {"nodeName": "plane", "containers": [{"env": [{"name": "PASSWORD", "value": "hunter2"}]}]},
        "status": {"phase": "Running"},
    }
    (shown,) = without_settings([item])
    assert "hunter2" not in str(shown)
    assert (shown["metadata"]["name"], shown["spec"], shown["status"]["phase"]) == (
        "web",
        {"nodeName": "plane"},
        "Running",
    )


def test_events_stand_in_the_order_in_which_they_happened() -> None:
    def event(at: Json, message: str) -> Json:
        of = {"kind": "Pod", "namespace": "n", "name": "web"}
        return {"metadata": {}, "type": "Normal", "reason": "R", "message": message, "involvedObject": of, **at}

    late, early = {"lastTimestamp": "2026-01-02T00:00:00Z"}, {"eventTime": "2026-01-01T00:00:00Z"}
    assert events([event(late, "two\nlines"), event(early, "one")]).splitlines() == [
        "2026-01-01T00:00:00Z Normal Pod n/web R: one",
        "2026-01-02T00:00:00Z Normal Pod n/web R: two lines",
    ]


def test_the_values_of_secrets_are_known_decoded() -> None:
    data = {"password": base64.b64encode(b"hunter2-hunter2").decode(), "binary": base64.b64encode(b"\xff\xfe").decode()}
    assert list(of_secrets([{"data": data}, {}])) == ["hunter2-hunter2", data["binary"]]


def test_it_is_told_when_the_values_of_secrets_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server:
        def get(self, path: str) -> Json:
            raise Refused(403, f"no {path}")

    monkeypatch.setattr(bundle, "kubeconfig", lambda _: "kind: Config")
    lab: Any = SimpleNamespace(name="lab", key="lab")
    for api in (None, Server()):
        known, unknown = bundle.secrets(lab, cast("Api | None", api))
        assert (known, bool(unknown)) == (frozenset(), True)
        assert "NOT" in bundle._readme(unknown)
        assert unknown in bundle._readme(unknown)
    assert "NOT" not in bundle._readme("")
