"""The authority of an intercepting network: which files are taken, and what trusts it."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi
import pytest

from threezone.core import network_ca, settings
from threezone.core.errors import UsageError

COMPANY = Path(__file__).parents[2] / "integration/toolchain/loopback.pem"  # a certificate, with its key
CERTIFICATE = network_ca._CERTIFICATE.findall(COMPANY.read_text())[0]
PUBLIC = Path(certifi.where())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and nothing that names certificates."""
    for name in ("SSL_CERT_FILE", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("THREEZONE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_without_the_setting_nothing_is_trusted_and_nothing_written(tmp_path: Path, cache: Path) -> None:
    network_ca.trust("", tmp_path)
    assert network_ca.environment("") == {}
    assert network_ca.files("") == {}
    assert not cache.exists()
    assert "SSL_CERT_FILE" not in os.environ


@pytest.mark.parametrize("named", ["relative", "absolute", "home"])
def test_only_the_certificates_of_the_file_are_taken(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "company.pem").write_text(f"Company\r\n{COMPANY.read_text()}\n{CERTIFICATE}")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = {"relative": "company.pem", "absolute": str(tmp_path / "company.pem"), "home": "~/company.pem"}[named]
    pem = network_ca.certificates(path, tmp_path)
    assert pem.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE KEY" in COMPANY.read_text()
    assert "PRIVATE KEY" not in pem
    assert network_ca.files(pem) == {"/etc/ssl/certs/threezone-network-ca.pem": pem}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("", "no PEM block CERTIFICATE"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no PEM block CERTIFICATE"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "cannot be read"),
    ],
)
def test_an_unusable_file_is_named_with_the_setting(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "company.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=words) as refused:
        network_ca.certificates("company.pem", tmp_path)
    assert "threezone.network.ca" in refused.value.message
    assert str(path) in refused.value.message


def test_system_means_what_the_machine_trusts_besides_the_public_authorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system.pem"
    monkeypatch.setattr(network_ca, "_system_file", lambda: system)
    system.write_text(f"{PUBLIC.read_text()}\n{CERTIFICATE}\n")
    assert network_ca.certificates("system", tmp_path) == f"{CERTIFICATE}\n"
    system.write_text(PUBLIC.read_text())
    with pytest.raises(UsageError, match="besides the public ones"):
        network_ca.certificates("system", tmp_path)


def test_programs_in_here_trust_it_besides_what_they_trusted_before(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_ca, "_system_file", lambda: PUBLIC)
    variables = network_ca.environment(f"{CERTIFICATE}\n")
    assert set(variables) == {"SSL_CERT_FILE", "PIP_CERT"}
    bundle = Path(variables["SSL_CERT_FILE"])
    assert bundle.parent == cache / "network-ca"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    trusted = set(context.get_ca_certs(binary_form=True))
    assert ssl.PEM_cert_to_DER_cert(CERTIFICATE) in trusted
    assert network_ca._public() <= trusted
    own = tmp_path / "own.pem"
    own.write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    monkeypatch.setenv("PIP_CERT", "/pip.pem")
    variables = network_ca.environment("company\n")
    assert Path(variables["SSL_CERT_FILE"]).read_text() == f"{CERTIFICATE}\ncompany\n"
    assert variables["PIP_CERT"] == "/pip.pem", "the user's own"


def test_the_setting_is_one_text() -> None:
    parsed = settings.parse({"network": {"ca": "system"}}, Path("invoke.yaml"))
    assert parsed.network.ca == "system"
    with pytest.raises(UsageError, match=r"threezone\.network\.ca: expected text"):
        settings.parse({"network": {"ca": ["system"]}}, Path("invoke.yaml"))
