"""An entry with a proxy-url: our proof and our requests go the way that kubectl goes."""

import base64
import json
import select
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.zones.conftest import Pki, Serve

from threezone.cluster.lab import api_of
from threezone.core.errors import ThreezoneError, UsageError
from threezone.core.process import run
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import trust
from threezone.kubeconfig.document import Document
from threezone.toolchain import install
from threezone.zones import kubeconfig_entry
from threezone.zones.prove import prove
from threezone.zones.routes import Route

SECRET = "pr0xy-passw0rd"
SERVER = "https://api.invalid:6443"  # RFC 2606: only the proxies below know it


@pytest.fixture(scope="module")
def kubectl() -> Path:
    return install.ensure(("kubectl",))["kubectl"].path


class Proxy(socketserver.BaseRequestHandler):
    """Speaks HTTP CONNECT or SOCKS5, wants a password, and leads every name to one port of this machine."""

    target = 0
    kind = "http"

    def handle(self) -> None:
        asked = self.socks() if self.kind == "socks5" else self.connect()
        if asked != "api.invalid:6443":
            return
        with socket.create_connection(("127.0.0.1", self.target)) as there:
            self.server.names.append(asked)  # type: ignore[attr-defined]
            pair = {self.request: there, there: self.request}
            while True:
                for ready in select.select(list(pair), [], [])[0]:
                    if not (data := ready.recv(65536)):
                        return
                    pair[ready].sendall(data)

    def connect(self) -> str:
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.request.recv(4096)
        login = base64.b64encode(f"me:{SECRET}".encode())
        allowed = b"proxy-authorization: basic " + login.lower() in head.lower()
        self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if allowed else b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        return head.split()[1].decode() if allowed else ""

    def socks(self) -> str:  # RFC 1928, RFC 1929
        self.request.recv(self.request.recv(2)[1])
        self.request.sendall(b"\x05\x02")
        name = self.request.recv(self.request.recv(2)[1])
        password = self.request.recv(self.request.recv(1)[0])
        allowed = (name, password) == (b"me", SECRET.encode())
        self.request.sendall(b"\x01\x00" if allowed else b"\x01\x01")
        if not allowed or self.request.recv(4)[3] != 3:  # the address is a name
            return ""
        host = self.request.recv(self.request.recv(1)[0])
        (port,) = struct.unpack(">H", self.request.recv(2))
        self.request.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        return f"{host.decode()}:{port}"


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: clients go away."""


@pytest.fixture(params=["http", "socks5"])
def proxy(request: pytest.FixtureRequest, serve: Serve) -> Iterator[tuple[str, list[str]]]:
    """The proxy's kind, address and the names that it was asked for."""
    kind = type("Handler", (Proxy,), {"target": serve(), "kind": request.param})
    with Server(("127.0.0.1", 0), kind) as server:
        server.names = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"{request.param}://me:{SECRET}@127.0.0.1:{server.server_address[1]}", server.names  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def behind(pki: Pki, proxy_url: str) -> Document:
    content = document.parse(pki.kubeconfig(SERVER).encode())
    cluster = document.body(content, "clusters", "kind-kind") or {}
    return document.put(
        content, "clusters", "kind-kind", {**cluster, "tls-server-name": "localhost", "proxy-url": proxy_url}
    )


def test_kubectl_our_proof_and_our_requests_go_through_the_proxy(
    pki: Pki, proxy: tuple[str, list[str]], kubectl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, names = proxy
    content = behind(pki, url)
    file = tmp_path / "config"
    file.write_bytes(document.dump(content))
    asked = run([kubectl, "--kubeconfig", file, "get", "--raw", "/readyz"], timeout=30, check=False)
    assert (asked.exit_code, asked.stdout) == (0, "ok"), asked.stderr
    entry = document.entry(content, "kind-kind")
    assert entry is not None
    verdict = prove([Route("existing", entry.server, entry.tls_server_name)], trust(entry))
    assert verdict.chosen is not None, verdict.evidence
    monkeypatch.setenv("KUBECONFIG", str(file))
    found = kubeconfig_entry.find("kind-kind")
    assert found is not None
    assert api_of(found).text("/readyz") == "ok"
    assert names == ["api.invalid:6443"] * 3


def test_a_proxy_that_refuses_is_named_without_its_password(pki: Pki, proxy: tuple[str, list[str]]) -> None:
    url, names = proxy
    entry = document.entry(behind(pki, url.replace("me:", "you:")), "kind-kind")
    assert entry is not None
    proof = prove([Route("existing", entry.server, entry.tls_server_name)], trust(entry)).proofs[0]
    assert (proof.ok, proof.stages[-1].name, names) == (False, "tcp", [])
    assert SECRET not in proof.why
    assert SECRET not in repr(trust(entry))


@pytest.mark.parametrize("url", ["socks9://h:1", "http://[::1", "http://", f"me:{SECRET}@h", "http://h:port"])
def test_what_is_no_proxy_is_refused_without_showing_it(pki: Pki, url: str) -> None:
    entry = document.entry(behind(pki, url), "kind-kind")
    assert entry is not None
    with pytest.raises(UsageError, match="proxy-url") as refused:
        trust(entry)
    assert SECRET not in refused.value.message + refused.value.evidence + refused.value.fix


def test_no_login_goes_over_plain_http(pki: Pki) -> None:
    def sent(server: str) -> bool:
        entry = document.entry(document.parse(pki.kubeconfig(server, user="{token: t0ken}").encode()), "kind-kind")
        assert entry is not None
        return bool(trust(entry).headers)

    assert [sent(f"{scheme}://127.0.0.1:1") for scheme in ("http", "HTTP", "https")] == [False, False, True]


def test_a_plugin_s_login_goes_to_no_server_that_is_not_verified(
    pki: Pki, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = "client.authentication.k8s.io/v1"
    said = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": {"token": "t0ken"}})
    plugin = {"apiVersion": version, "command": "echo", "args": [said], "interactiveMode": "Never"}
    content = document.parse(pki.kubeconfig("https://unused", user=json.dumps({"exec": plugin})).encode())
    cluster = {"server": f"https://127.0.0.1:{serve()}", "insecure-skip-tls-verify": True}
    file = tmp_path / "config"
    file.write_bytes(document.dump(document.put(content, "clusters", "kind-kind", cluster)))
    monkeypatch.setenv("KUBECONFIG", str(file))
    found = kubeconfig_entry.find("kind-kind")
    assert found is not None
    with pytest.raises(ThreezoneError) as refused:
        api_of(found).text("/readyz")
    said_to_user = refused.value.message + refused.value.evidence
    assert "certificate" in said_to_user
    assert "t0ken" not in said_to_user
