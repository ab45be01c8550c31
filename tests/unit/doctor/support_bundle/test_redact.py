import base64
import json
import time
from collections.abc import Callable
from urllib.parse import quote

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
        ('{"password": "hunter2", "user": "me"}', "hunter2"),
        (r"{\"password\":\"hunter2\"}", "hunter2"),
        ('level=info db_password="with a \\" quote hunter2"', "hunter2"),
        ("  clientSecret: 'hunter2'", "hunter2"),
        ("MY_API_KEY=hunter2", "hunter2"),
        ("aws_secret_access_key => hunter2", "hunter2"),
        ("program --token hunter2 --verbose", "hunter2"),
        ("Set-Cookie: session=hunter2; Path=/", "hunter2"),
        (f"ghp_{'a1' * 18}", "a1a1a1"),
        (f"pushed with glpat-{'a1B' * 7}", "a1Ba1B"),
        ("xoxb-123456789012-hunter2", "hunter2"),
        ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
        ('"auths":{"r":{"auth":"bWU6aHVudGVyMg=="}}', "bWU6aHVudGVyMg"),
        ('"Authorization":["Bearer abcdefghijklmnop"]', "abcdefghijklmnop"),
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
        "secretName: my-secret",
        "tokenFile: /x",
        "automountServiceAccountToken: false",
        "passwordRef: x",
        "secrets is forbidden",
        "serviceAccountToken:",
        "tokenExpirationSeconds: 3607",
        "password: null",
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


SECRET = "Pw+/<1234& ü"
HOLDERS = {
    "as user and password": lambda: base64.b64encode(f"somebody:{SECRET}".encode()).decode(),
    "as the password of a shorter name": lambda: base64.b64encode(f"me:{SECRET}:x".encode()).decode(),
    "in an address": lambda: quote(SECRET, safe=""),
    "in JSON": lambda: json.dumps(SECRET),
    "in JSON in JSON": lambda: json.dumps(json.dumps(SECRET)),
    "in Go's JSON": lambda: SECRET.replace("<", "\\u003c").replace("&", "\\u0026"),
    "in hexadecimal": lambda: SECRET.encode().hex(),
    "in base64 of addresses": lambda: base64.urlsafe_b64encode(SECRET.encode()).decode(),
}


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_a_known_value_is_removed_from_what_holds_it(make: Callable[[], str]) -> None:
    shown = redact(f"x {make()} y", forms(SECRET))
    assert "***" in shown
    assert len(shown) < len("x *** y") + 14, shown


def test_the_values_in_a_dockerconfigjson_are_known() -> None:
    login = {"username": "somebody", "password": "hunt3r", "auth": base64.b64encode(b"somebody:hunt3r").decode()}
    known = forms(json.dumps({"auths": {"registry.example.com": login}}))
    assert redact("said hunt3r to registry.example.com as somebody", known) == (
        "said *** to registry.example.com as somebody"
    )


def test_wrapped_base64_is_removed_line_by_line() -> None:
    value = "".join(chr(33 + number % 90) for number in range(300))
    wrapped = base64.encodebytes(value.encode()).decode().splitlines()
    shown = redact("\n    ".join(wrapped), forms(value))
    assert [line for line in wrapped if len(line) >= 8 and line in shown] == []


def test_short_values_are_removed_where_they_are_no_ordinary_words() -> None:
    assert redact("said ab1! and default", forms("ab1!") | forms("default"[:6])) == "said *** and default"
    assert redact("xab1!x", forms("ab1!")) == "xab1!x"


@pytest.mark.parametrize(
    "unit", ["a://", "eyJ-", "password", 'token=\\"', "-----BEGIN PRIVATE KEY-----", "a.b-", "secret.", "'", "\\"]
)
def test_the_time_grows_with_the_length_only(unit: str) -> None:
    def seconds(length: int) -> float:
        text = f'password="{unit * (length // len(unit))}'
        began = time.process_time()
        redact(text)
        return time.process_time() - began

    assert seconds(200_000) < 100 * max(seconds(20_000), 0.001)
