"""Engines that cannot be used, with the real docker client. These tests need no cluster."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.e2e.project import Project

from threezone.core import process

NOBODY = "65534"


def refused(project: Project, sentence: str, **env: str) -> str:
    """The stderr of `engine.check` with `env`, which has `sentence`; the exit code is 3."""
    done = project.invoke("engine.check", check=False, env=env)
    assert done.exit_code == 3, done.stdout + done.stderr
    assert f"error: {sentence} (engine: " in done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter, with a path that is short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="tz-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


class OldEngine(BaseHTTPRequestHandler):
    """The part of the engine's API that `docker info` uses, with the answers of Docker 18.09."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        if self.path.endswith("/_ping"):
            self._answer(b"OK")
        else:
            self._answer(json.dumps({"ID": "old", "ServerVersion": "18.09.1", "OSType": "linux"}).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Api-Version", "1.39")
        self.send_header("Ostype", "linux")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a unix socket"

    def log_message(self, *args: object) -> None:
        """Be silent."""


@pytest.fixture
def old_engine(place: Path) -> Iterator[str]:
    """The address of an engine that is too old; its socket is open to its owner only."""
    with socketserver.ThreadingUnixStreamServer(str(place / "docker.sock"), OldEngine) as server:
        (place / "docker.sock").chmod(0o600)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"unix://{place}/docker.sock"
        server.shutdown()
        thread.join()


def test_an_old_engine_is_reported_with_its_version(project: Project, old_engine: str) -> None:
    output = refused(project, "the container engine is too old", DOCKER_HOST=old_engine)
    # Docker's client refuses such an engine itself from version 29, with another message.
    assert "18.09.1" in output or "not supported by this client" in output
    assert "upgrade Docker Engine" in output


def test_missing_permission_for_the_socket_is_reported_with_a_fix(
    project: Project, old_engine: str, place: Path
) -> None:
    docker = process.find("docker")
    assert docker, "the engine's client"
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    (place / "bin").mkdir()
    client = place / "bin" / "docker"  # only the client runs as another user, who cannot read our environment
    client.write_text(f'#!/bin/sh\nexec {shlex.join([*user, str(docker)])} "$@"\n')
    client.chmod(0o755)
    output = refused(
        project,
        "this user may not talk to the container engine",
        DOCKER_HOST=old_engine,
        DOCKER_CONFIG=str(place),
        PATH=f"{place}/bin:{os.environ['PATH']}",
    )
    assert "permission denied" in output
    assert "usermod -aG docker" in output


@pytest.mark.parametrize(
    ("version", "sentence", "fix"),
    [
        ("1.99", "the container engine is too old", "upgrade Docker Engine"),
        ("1.1", "the docker client here is too old for the container engine", "upgrade the docker client"),
    ],
    ids=["client too new", "client too old"],
)
def test_a_client_that_the_engine_refuses(project: Project, version: str, sentence: str, fix: str) -> None:
    output = refused(project, sentence, DOCKER_API_VERSION=version)
    assert f"client version {version} is too" in output
    assert fix in output
