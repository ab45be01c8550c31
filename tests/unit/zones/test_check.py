"""What a check says of an entry: the meaning of its proof, and what is worth knowing beside it. Plain data."""

import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from threezone.core.errors import ClusterError
from threezone.kubeconfig import document
from threezone.kubeconfig.document import Entry
from threezone.zones import certificate
from threezone.zones.check import entry_notices, file_notices, judge
from threezone.zones.kubeconfig_entry import UserEntry
from threezone.zones.locate import Zone
from threezone.zones.proof import STAGES, Cause, Proof, Stage, StageName, Verdict
from threezone.zones.routes import Route

PKI = Path(__file__).parents[2] / "integration" / "zones" / "pki"
HOST = Zone("host", ())
GONE = ClusterError("the cluster lab is gone", fix="./run invoke up")


def authority(name: str) -> str:
    return base64.b64encode((PKI / name / "ca.crt").read_bytes()).decode()


def current(ca: str = "kind") -> UserEntry:
    data = {
        "clusters": [{"name": "c", "cluster": {"server": "https://x:1", "certificate-authority-data": authority(ca)}}],
        "contexts": [{"name": "kind-lab", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    }
    return UserEntry("kind-lab", "https://x:1", "", "", "config", is_current=True, kubeconfig=data)


def verdict(failing: StageName | None = None, cause: Cause = "refused") -> Verdict:
    stages = []
    for name in STAGES:
        stages.append(Stage(name, name != failing, 0.0, "" if name != failing else "because", cause))
        if name == failing:
            break
    proof = Proof(Route("existing entry", "https://x:1"), tuple(stages), 0.0, f"{failing}: because" if failing else "")
    return Verdict(None if failing else proof, (proof,), 0.0)


def fresh(ca: str) -> str:
    return document.dump(document.Document(current(ca).kubeconfig)).decode()


def test_a_proof_is_enough_without_an_engine_and_with_one() -> None:
    assert judge(current(), HOST, verdict(), None, None) == ("proved", None)
    assert judge(current(), HOST, verdict(), fresh("kind"), None) == ("proved", None)
    assert judge(current(), HOST, verdict(), None, GONE) == ("proved", None)


def test_another_ca_is_another_cluster_whatever_the_proof_says() -> None:
    for seen in (verdict("tls", "authority"), verdict("tcp"), verdict()):
        state, error = judge(current(), HOST, seen, fresh("other"), None)
        assert state == "recreated"
        assert error is not None
        assert error.exit_code == 4
        assert error.fix == "./run invoke kubeconfig.connect --name lab"


def test_a_cluster_that_the_engine_misses_is_gone() -> None:
    state, error = judge(current(), HOST, verdict("tcp"), None, GONE)
    assert (state, error and error.exit_code, error and error.fix) == ("gone", 4, "./run invoke up")


def test_else_the_way_does_not_lead_there_and_the_stage_is_explained() -> None:
    state, error = judge(current(), HOST, verdict("tcp"), fresh("kind"), None)
    assert state == "unreachable"
    assert error is not None
    assert error.exit_code == 5
    assert "was refused - did you specify the right host or port?" in " ".join(error.evidence.split())
    assert error.fix == "./run invoke kubeconfig.connect --name lab"


def test_a_credential_plugin_that_is_not_run_is_no_failure() -> None:
    assert judge(current(), HOST, verdict("auth", "plugin"), None, None)[0] == "proved"
    assert judge(current(), HOST, verdict("auth", "unauthorized"), None, None)[0] == "unreachable"


def entry(cluster: dict[str, object] | None = None, user: dict[str, object] | None = None) -> Entry:
    return Entry("kind-lab", "c", "u", "", {"server": "https://x:1", **(cluster or {})}, user or {})


def test_what_kubectl_would_do_otherwise_is_noticed() -> None:
    now = datetime.now(UTC)
    assert entry_notices(entry(), {}, now) == ()
    assert "insecure-skip-tls-verify" in entry_notices(entry({"insecure-skip-tls-verify": True}), {}, now)[0]
    assert "proxy-url" in entry_notices(entry({"proxy-url": "https://p"}), {"HTTPS_PROXY": "http://q"}, now)[0]
    assert "http://q" in entry_notices(entry(), {"HTTPS_PROXY": "http://q"}, now)[0]


def test_a_certificate_s_last_day_is_noticed_a_month_before() -> None:
    pem = (PKI / "kind" / "client.crt").read_bytes()
    end = certificate.not_after(pem)
    assert end == datetime(2126, 10, 28, 7, 29, 16, tzinfo=UTC)  # as openssl prints it
    user: dict[str, object] = {"client-certificate-data": base64.b64encode(pem).decode()}
    assert entry_notices(entry(user=user), {}, end - timedelta(days=31)) == ()
    assert "ends on 2126-10-28" in entry_notices(entry(user=user), {}, end - timedelta(days=29))[0]
    assert "ended on 2126-10-28" in entry_notices(entry(user=user), {}, end + timedelta(days=1))[0]


@pytest.mark.parametrize("form", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_has_no_last_day(form: str) -> None:
    assert certificate.not_after(form.encode()) is None


def test_a_certificate_that_is_cut_anywhere_has_no_last_day_or_the_right_one() -> None:
    der = base64.b64decode("".join((PKI / "kind" / "client.crt").read_text().splitlines()[1:-1]))
    whole = datetime(2126, 10, 28, 7, 29, 16, tzinfo=UTC)
    for length in range(0, len(der), 7):
        text = base64.encodebytes(der[:length]).decode()
        cut = f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"
        assert certificate.not_after(cut.encode()) in (None, whole)


def test_both_forms_of_a_date_are_read() -> None:
    def holding(tag: int, date: bytes) -> bytes:
        time = bytes([tag, len(date)]) + date
        validity = bytes([0x30, 2 * len(time)]) + 2 * time
        inner = b"\x02\x01\x01" + b"\x30\x00" + b"\x30\x00" + validity  # an old certificate has no version
        signed = bytes([0x30, len(inner)]) + inner
        der = bytes([0x30, len(signed)]) + signed
        return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"

    assert certificate.not_after(holding(0x17, b"491231235959Z")) == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert certificate.not_after(holding(0x17, b"500101000000Z")) == datetime(1950, 1, 1, tzinfo=UTC)
    assert certificate.not_after(holding(0x18, b"20500101000000Z")) == datetime(2050, 1, 1, tzinfo=UTC)


def test_a_file_that_others_may_read_and_a_lock_are_noticed(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("")
    config.chmod(0o600)
    assert file_notices([str(config), str(tmp_path / "absent")]) == ()
    config.chmod(0o640)
    (tmp_path / "config.lock").touch()
    hour_ago = datetime.now(UTC).timestamp() - 3600
    os.utime(tmp_path / "config.lock", (hour_ago, hour_ago))
    mode, lock = file_notices([str(config)])
    assert "0640" in mode
    assert f"chmod 600 {config}" in mode
    assert "--break-lock" in lock
    assert "60 min old" in lock
