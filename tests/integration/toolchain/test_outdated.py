"""tools.list --outdated against a real server on loopback: an answer, a refusal, silence, and nobody there."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.integration.toolchain.conftest import PACKAGE

from threezone.core import process
from threezone.toolchain import outdated

LISTS = {
    "/sigs.k8s.io/kind/@v/list": "v0.31.0\nv0.31.9\nv0.33.0\nv0.34.0-alpha\n",
    "/k8s.io/kubernetes/@v/list": "v1.35.0\nv1.34.4\n",
}
SILENT = "/github.com/fluxcd/flux2/v2/@v/list"


class Proxy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == SILENT:
            time.sleep(30)
            return
        body = LISTS.get(self.path, "").encode()
        self.send_response(200 if body else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def module_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as made:
        made.daemon_threads = True
        made.block_on_close = False
        threading.Thread(target=made.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{made.server_address[1]}"
        monkeypatch.setenv("GOPROXY", f"{address},direct")
        yield address
        made.shutdown()


def test_each_program_has_its_answer_and_silence_is_a_note_in_time(module_proxy: str) -> None:
    began = time.monotonic()
    found = outdated.ask(["kind", "kubectl", "flux", "helm", "age-keygen"], seconds=2)
    assert time.monotonic() - began < 5
    assert (found["kind"].patch, found["kind"].newest, found["kind"].note) == ("0.31.9", "0.33.0", "")
    assert (found["kubectl"].patch, found["kubectl"].newest, found["kubectl"].note) == ("", "", "")
    assert "no answer" in found["flux"].note
    assert "403" in found["helm"].note
    assert module_proxy.partition("//")[2] in found["helm"].note


def test_offline_is_a_note_and_no_failure(project: Path) -> None:
    argv = [sys.executable, "-m", "invoke", "tools.list", "--outdated", "--json"]
    nobody = {**PACKAGE, "GOPROXY": "http://127.0.0.1:9"}  # discard: nobody listens
    done = process.run(argv, cwd=project, timeout=60, env=nobody)
    rows = {row["name"]: row["outdated"] for row in json.loads(done.stdout)}
    assert {"kind", "kubectl", "flux"} <= set(rows)
    assert all(row["newest"] is None and "127.0.0.1:9" in row["note"] for row in rows.values())
    argv.remove("--outdated")
    assert all(
        "outdated" not in row for row in json.loads(process.run(argv, cwd=project, timeout=60, env=nobody).stdout)
    )
