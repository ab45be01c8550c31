import base64

import pytest

from threezone.doctor.support_bundle.redact import forms, redact

KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAtest0123456789\nabcdefghijklmnop\n-----END RSA PRIVATE KEY-----\n"
)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"before\n{KEY}after", "MIIEpAIBAAKCAQEAtest0123456789"),
        (KEY.replace("\n", "\\n"), "MIIEpAIBAAKCAQEAtest0123456789"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEcutoff", "MIIEcutoff"),
        ("client-key-data: c2VjcmV0", "c2VjcmV0"),
        ('"client-certificate-data":"c2VjcmV0"', "c2VjcmV0"),
        ("key: LS0tLS1CRUdJTiBSU0E=", "LS0tLS1CRUdJTiBSU0E"),
        ("Bearer eyJhbGciOiJSUzI1.eyJpc3MiOiJrdWJl.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
        ("  token: abcdef.0123456789abcdef", "0123456789abcdef"),
        ("kubeadm join --token=abcdef.0123456789abcdef", "0123456789abcdef"),
        ("git clone https://lab:hunter2-hunter2@git.example/x", "hunter2-hunter2"),
        ("HTTP_PROXY=http://me:pass@proxy:3128", "pass@"),
        ("Authorization: Basic bGFiOmh1bnRlcjI=", "bGFiOmh1bnRlcjI"),
        ("password=hunter2 and more", "hunter2"),
        (f"certificate-key: {'a1' * 32}", "a1" * 32),
    ],
)
def test_texts_that_look_like_secrets_are_removed(text: str, secret: str) -> None:
    assert secret in text
    shown = redact(text)
    assert secret not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "Nov 21 15:15:33 lab-control-plane kubelet[211]: I1121 status_manager.go:249] Starting",
        "https://127.0.0.1:6443/readyz",
        "sha256:452d707d4862f52530247495d180205e029056831160e22870e37e3f6c1ac31f",
        "-----BEGIN CERTIFICATE-----",
        "ghcr.io/fluxcd/source-controller:v1.7.3",
        "git@github.com:owner/repository.git",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert redact(text) == text


def test_a_known_value_is_removed_in_every_form() -> None:
    known = forms(KEY)
    for shown in (KEY, KEY.replace("\n", "\\n"), base64.b64encode(KEY.encode()).decode(), "x abcdefghijklmnop y"):
        assert "abcdefghijklmnop" not in redact(shown, known)
    assert "hunter2-hunter2" not in redact("said hunter2-hunter2 aloud", forms("hunter2-hunter2\n"))
    encoded = base64.b64encode(b"hunter2-hunter2").decode()
    assert redact("it is hunter2-hunter2", forms(encoded)) == "it is ***"


def test_short_values_are_no_secrets() -> None:
    assert forms("lab") == set()
    assert redact("the lab is up", forms("lab")) == "the lab is up"
