"""TLS as kubectl does it: a table of servers and CAs, each tried by the real kubectl and by our proof.

The certificates are made by the `openssl` command.
"""

import base64
import ssl
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.integration.zones.conftest import Behaviour, serving

from threezone.core.errors import UsageError
from threezone.core.process import run
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import trust
from threezone.toolchain import install
from threezone.zones.prove import prove
from threezone.zones.routes import Route

CA = ("basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign")
SERVER = ("basicConstraints=critical,CA:false", "extendedKeyUsage=serverAuth", "subjectAltName=IP:127.0.0.1")


@pytest.fixture(scope="module")
def kubectl() -> Path:
    return install.ensure(("kubectl",))["kubectl"].path


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    directory: Path
    name: str

    @property
    def pem(self) -> bytes:
        return (self.directory / f"{self.name}.crt").read_bytes()

    @property
    def key(self) -> Path:
        return self.directory / f"{self.name}.key"


def make(
    directory: Path,
    name: str,
    *extensions: str,
    by: Made | None = None,
    key: str = "ec",
    days: str = "2",
    sha: str = "",
) -> Made:
    """Make a certificate; without `by` it signs itself."""
    algorithm = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else ["-newkey", key]
    command: list[str | Path] = ["openssl", "req", "-x509", "-nodes", *algorithm, "-subj", f"/CN={name}", "-days", days]
    made = Made(directory, name)
    command += ["-keyout", made.key, "-out", directory / f"{name}.crt", "-sha256" if not sha else f"-{sha}"]
    command += ["-config", "/dev/null", *(part for each in extensions for part in ("-addext", each))]
    if by is not None:
        command += ["-CA", by.directory / f"{by.name}.crt", "-CAkey", by.key]
    (directory / "req.cnf").write_text("[req]\ndistinguished_name=dn\n[dn]\n")
    command[command.index("/dev/null")] = directory / "req.cnf"
    run(command, timeout=30)
    return made


@dataclass(frozen=True)
class Cell:
    """What the server shows (leaf first), and the CA in the kubeconfig; `fields` are further ones of the entry."""

    shown: tuple[Made, ...]
    authority: bytes
    fields: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cell]:
    at = tmp_path_factory.mktemp("pki")
    root = make(at, "root", *CA)
    other = make(at, "other", *CA)
    middle = make(at, "middle", *CA, by=root)
    leaf = make(at, "leaf", *SERVER, by=root)
    below = make(at, "below", *SERVER, by=middle)
    itself = make(at, "itself", *SERVER)
    weak = make(at, "weak", "basicConstraints=critical,CA:false", "keyUsage=critical,digitalSignature")
    by_weak = make(at, "by-weak", *SERVER, by=weak)
    named = make(at, "127.0.0.1", "basicConstraints=critical,CA:false", by=root)
    host = make(at, "host", "subjectAltName=DNS:localhost", by=root)
    client = make(at, "client", "extendedKeyUsage=clientAuth", "subjectAltName=IP:127.0.0.1", by=root)
    with_key = root.key.read_bytes() + root.pem
    return {
        "a root": Cell((leaf,), root.pem),
        "another root": Cell((leaf,), other.pem),
        "one of two roots": Cell((leaf,), other.pem + root.pem),
        "a chain to a root": Cell((below, middle), root.pem),
        "an intermediate that is not shown": Cell((below,), root.pem),
        "an intermediate as the anchor": Cell((below,), middle.pem),
        "an intermediate as the anchor, and shown": Cell((below, middle), middle.pem),
        "the server's own certificate as the anchor": Cell((leaf,), leaf.pem),
        "a self-signed server": Cell((itself,), itself.pem),
        "signed by a certificate that is no CA": Cell((by_weak,), weak.pem),
        "a common name only": Cell((named,), root.pem),
        "another name": Cell((host,), root.pem),
        "another name, which the entry names": Cell((host,), root.pem, {"tls-server-name": "localhost"}),
        "a client's certificate": Cell((client,), root.pem),
        "comments that are not ASCII": Cell((leaf,), "# Prüfstelle\n".encode() + root.pem + "ñ\n".encode("latin-1")),
        "a key beside the CA": Cell((leaf,), with_key),
        "Windows line ends": Cell((leaf,), root.pem.replace(b"\n", b"\r\n")),
        "a broken block before the CA": Cell((leaf,), root.pem[:100] + b"\n-----END CERTIFICATE-----\n" + root.pem),
        "a block that is no certificate": Cell((leaf,), root.pem.replace(b"CERTIFICATE", b"X509 CRL") + root.pem),
        "only a block that is no certificate": Cell((leaf,), root.pem.replace(b"CERTIFICATE", b"X509 CRL")),
        "text that is no PEM": Cell((leaf,), b"a CA"),
        "a CA, and no verification": Cell((leaf,), root.pem, {"insecure-skip-tls-verify": True}),
    }


def showing(shown: tuple[Made, ...]) -> AbstractContextManager[int]:
    """An API server that shows these certificates."""
    chain = shown[0].directory / "chain.pem"
    chain.write_bytes(b"".join(made.pem for made in shown))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, shown[0].key)
    return serving(Behaviour(user="somebody"), context)


CASES = [
    "a root", "another root", "one of two roots", "a chain to a root", "an intermediate that is not shown",
    "an intermediate as the anchor", "an intermediate as the anchor, and shown", "a self-signed server",
    "the server's own certificate as the anchor", "signed by a certificate that is no CA", "a common name only",
    "another name", "another name, which the entry names", "a client's certificate", "comments that are not ASCII",
    "a key beside the CA", "Windows line ends", "a broken block before the CA", "a block that is no certificate",
    "only a block that is no certificate", "text that is no PEM", "a CA, and no verification",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_server_is_trusted_if_kubectl_trusts_it(
    cells: dict[str, Cell], kubectl: Path, tmp_path: Path, case: str
) -> None:
    cell = cells[case]
    with showing(cell.shown) as port:
        cluster = {
            "server": f"https://127.0.0.1:{port}",
            "certificate-authority-data": base64.b64encode(cell.authority).decode(),
            **cell.fields,
        }
        content = document.put(document.Document({}), "clusters", "c", cluster)
        content = document.put(content, "users", "u", {"token": "t"})
        content = document.put(content, "contexts", "x", {"cluster": "c", "user": "u"})
        file = tmp_path / "config"
        file.write_bytes(document.dump(content))
        asked = run(
            [kubectl, "--kubeconfig", file, "--context", "x", "get", "--raw", "/readyz"], timeout=30, check=False
        )
        entry = document.entry(content, "x")
        assert entry is not None
        try:
            verdict = prove([Route("existing", entry.server, entry.tls_server_name)], trust(entry))
            ours = verdict.chosen is not None
            why = verdict.proofs[0].why
        except UsageError as refused:
            ours, why = False, refused.message
        assert ours == (asked.exit_code == 0), f"{why}; kubectl: {asked.stderr}"


def test_the_table_is_whole(cells: dict[str, Cell]) -> None:
    assert set(cells) == set(CASES)
