"""Check: an entry as it stands, against real TLS servers on loopback. Nothing is ever written."""

import json
from pathlib import Path

import pytest
from tests.integration.zones.conftest import Behaviour, Pki, Serve

from threezone.core.errors import ClusterError, UsageError
from threezone.zones.check import check_entry as check
from threezone.zones.locate import Zone

HOST = Zone("host", ("a test",))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    path.touch(mode=0o600)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def test_an_entry_that_leads_there_is_proved_and_told_without_secrets(config: Path, pki: Pki, serve: Serve) -> None:
    server = f"https://127.0.0.1:{serve()}"
    config.write_text(pki.kubeconfig(server))
    before = (config.read_text(), config.stat().st_mtime_ns)
    found = check("kind-kind", HOST, fresh=pki.kubeconfig("https://elsewhere"))
    assert (found.state, found.error, found.notices) == ("proved", None, ())
    data = found.data()
    assert (data["exitCode"], data["server"], data["file"]) == (0, server, str(config))
    assert all(stage["ok"] for stage in data["stages"].values())
    assert pki.data("client.key") not in json.dumps(data)
    assert (config.read_text(), config.stat().st_mtime_ns) == before
    assert list(config.parent.iterdir()) == [config]


def test_no_other_way_is_tried(config: Path, pki: Pki, serve: Serve, closed: int) -> None:
    good = Behaviour()
    fresh = pki.kubeconfig(f"https://127.0.0.1:{serve(good)}")
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{closed}"))
    found = check("kind-kind", HOST, fresh=fresh)
    assert found.state == "unreachable"
    assert found.error is not None
    assert (found.error.exit_code, found.error.fix) == (5, "./run invoke kubeconfig.connect")
    assert good.seen == []


def test_a_cluster_made_anew_is_another_one(config: Path, pki: Pki, other_pki: Pki, serve: Serve) -> None:
    server = f"https://127.0.0.1:{serve(None, other_pki)}"
    config.write_text(pki.kubeconfig(server))
    found = check("kind-kind", HOST, fresh=other_pki.kubeconfig(server))
    assert found.state == "recreated"
    assert found.error is not None
    assert found.error.exit_code == 4
    assert "another CA" in found.error.message
    without_an_engine = check("kind-kind", HOST)
    assert without_an_engine.error is not None
    assert without_an_engine.error.exit_code == 5
    assert "certificate signed by unknown authority" in without_an_engine.error.evidence


def test_a_cluster_that_is_gone_is_said_to_be_so_unless_the_entry_leads_elsewhere(
    config: Path, pki: Pki, serve: Serve, closed: int
) -> None:
    gone = ClusterError("the cluster kind is gone", fix="./run invoke up")
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{closed}"))
    found = check("kind-kind", HOST, missing=gone)
    assert found.state == "gone"
    assert found.error is not None
    assert (found.error.exit_code, found.error.fix) == (4, "./run invoke up")
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{serve()}"))
    elsewhere = check("kind-kind", HOST, missing=gone)
    assert elsewhere.error is None
    assert "leads to a cluster elsewhere" in elsewhere.notices[0]


def test_credentials_that_the_server_refuses_are_no_proof(config: Path, pki: Pki, serve: Serve) -> None:
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{serve(Behaviour(review=401))}"))
    found = check("kind-kind", HOST)
    assert found.error is not None
    assert found.error.exit_code == 5
    assert "You must be logged in to the server (Unauthorized)" in found.error.evidence


def test_a_plugin_is_not_run_and_what_can_be_proved_is(config: Path, pki: Pki, serve: Serve, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    plugin = f"{{exec: {{command: touch, args: [{ran}], apiVersion: client.authentication.k8s.io/v1}}}}"
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{serve()}", "managed", plugin))
    found = check("kind-managed", HOST)
    assert found.error is None
    assert "the login was not tried" in found.notices[0]
    assert not ran.exists()


def test_verification_that_is_switched_off_in_the_entry_stays_on_in_the_check(
    config: Path, pki: Pki, other_pki: Pki, serve: Serve
) -> None:
    behaviour = Behaviour()
    text = pki.kubeconfig(f"https://127.0.0.1:{serve(behaviour, other_pki)}")
    config.write_text(
        text.replace(f"certificate-authority-data: {pki.data('ca.crt')}", "insecure-skip-tls-verify: true")
    )
    found = check("kind-kind", HOST)
    assert found.error is not None
    assert found.error.exit_code == 5
    assert any("insecure-skip-tls-verify is set" in notice for notice in found.notices)
    assert behaviour.seen == [], "no request went over an unverified connection"


def test_what_is_not_there_or_broken_is_the_user_s_to_mend(config: Path) -> None:
    with pytest.raises(ClusterError, match="no entry kind-lab") as refused:
        check("kind-lab", HOST)
    assert refused.value.fix == "./run invoke kubeconfig.connect --name lab"
    with pytest.raises(ClusterError, match="no entry prod") as unknown:
        check("prod", HOST)
    assert unknown.value.fix == "kubectl config get-contexts"
    config.write_text("clusters: [\n")
    with pytest.raises(UsageError, match="not a kubeconfig"):
        check("kind-lab", HOST)
