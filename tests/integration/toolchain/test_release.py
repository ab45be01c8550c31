"""The release channel against a server on loopback."""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.integration.toolchain.conftest import CERTIFICATE, FLUX, FLUX_ARCHIVE, KIND, PACKAGE, Server, serving

from threezone.core import process
from threezone.core.errors import ToolError
from threezone.core.net import Limits
from threezone.toolchain import install, release

QUICK = Limits(connect=2.0, stall=0.3, total=5.0, pause=0.0)
SUM = hashlib.sha256(KIND).hexdigest()
ENSURE = "import sys, pathlib; from threezone.tasks.display import display; from threezone.toolchain import install\n"
ENSURE += "with display(): print(install.ensure(['kind'], 'release', pathlib.Path(sys.argv[1]))['kind'].path)"


def fetch(server: Server, to: Path, limits: Limits = QUICK) -> None:
    release.fetch(f"{server.base}/kind", SUM, to, limits)


def test_a_good_release_is_installed_executable_and_found_again(server: Server, project: Path) -> None:
    tool = install.ensure(["kind"], "release", project)["kind"]
    assert tool.path.read_bytes() == KIND
    assert tool.path.stat().st_mode & 0o777 == 0o755
    assert (tool.version, tool.channel) == ("0.31.0", "release")
    assert install.ensure(["kind"], "auto", project)["kind"] == tool
    assert len(server.requests) == 1  # neither the file nor reachability is asked for again


def test_of_an_archive_only_the_program_is_kept(server: Server, project: Path) -> None:
    server.content = FLUX_ARCHIVE
    tool = install.ensure(["flux"], "release", project)["flux"]
    assert tool.path.read_bytes() == FLUX
    assert sorted(path.name for path in tool.path.parent.iterdir()) == ["flux", "record.json"]
    assert not list(project.parent.rglob("escaped"))


def test_a_wrong_checksum_names_both_sums_and_keeps_nothing(server: Server, project: Path) -> None:
    server.content = KIND + b"changed"
    with pytest.raises(ToolError) as caught:
        install.ensure(["kind"], "release", project)
    assert SUM in caught.value.message
    assert hashlib.sha256(server.content).hexdigest() in caught.value.message
    assert install.find("kind", "release", project) is None
    assert not [path for path in (project.parent / "cache").rglob("*kind*") if path.is_file() and path.stat().st_size]
    assert len(server.requests) == 1


def test_a_program_that_says_another_version_is_not_installed(server: Server, project: Path) -> None:
    pins = project / "local" / "pins.toml"
    other = KIND.replace(b"v0.31.0", b"v0.30.0")
    server.content = other
    pins.write_text(pins.read_text().replace(SUM, hashlib.sha256(other).hexdigest()))
    with pytest.raises(ToolError, match=r"reports version 0\.30\.0, not 0\.31\.0"):
        install.ensure(["kind"], "release", project)
    assert install.find("kind", "release", project) is None


def test_a_redirect_is_followed(server: Server, tmp_path: Path) -> None:
    server.way = "moved"
    fetch(server, tmp_path / "kind")
    assert server.requests == ["/kind", "/moved"]
    assert (tmp_path / "kind").read_bytes() == KIND


@pytest.mark.parametrize("target", ["http://192.0.2.1/kind", "ftp://127.0.0.1/kind", "file:///etc/passwd"])
def test_a_redirect_away_from_tls_or_loopback_is_refused(server: Server, tmp_path: Path, target: str) -> None:
    server.way, server.target = "moved", target
    with pytest.raises(ToolError, match="only https") as caught:
        fetch(server, tmp_path / "kind")
    assert target in caught.value.message


def test_redirects_in_a_circle_end(server: Server, tmp_path: Path) -> None:
    server.way, server.target = "moved", "/again"
    with pytest.raises(ToolError, match="redirects more than 5 times"):
        fetch(server, tmp_path / "kind")


def test_a_missing_release_is_said_with_status_and_address(server: Server, tmp_path: Path) -> None:
    server.way = "missing"
    with pytest.raises(ToolError, match=r"answered 404 Not Found for http://127\.0\.0\.1:\d+/kind") as caught:
        fetch(server, tmp_path / "kind")
    assert "--channel source" in caught.value.fix
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("way", "sentence"),
    [("truncated", "ended the file after {half} of {all} bytes: it is truncated"), ("dropped", "broke after .* bytes")],
)
def test_a_lost_connection_is_tried_three_times(server: Server, tmp_path: Path, way: str, sentence: str) -> None:
    server.way = way
    numbers = {"half": f"{len(KIND) // 2:,}", "all": f"{len(KIND):,}"}
    with pytest.raises(ToolError, match=sentence.format(**numbers)) as caught:
        fetch(server, tmp_path / "kind")
    assert "(3 attempts)" in caught.value.message
    assert len(server.requests) == 3
    assert not (tmp_path / "kind").exists()


@pytest.mark.parametrize("way", ["truncated", "dropped"])
def test_a_connection_lost_once_does_not_matter(server: Server, tmp_path: Path, way: str) -> None:
    server.way, server.failures = way, 1
    fetch(server, tmp_path / "kind")
    assert (tmp_path / "kind").read_bytes() == KIND
    assert len(server.requests) == 2


def test_a_server_that_stops_sending_is_given_up(server: Server, tmp_path: Path) -> None:
    server.way = "held"
    began = time.monotonic()
    with pytest.raises(ToolError, match=r"sent nothing for 0 s after [\d,]+ of 500,0\d\d bytes"):
        fetch(server, tmp_path / "kind")
    assert time.monotonic() - began < 2
    assert not (tmp_path / "kind").exists()


def test_a_server_that_never_answers_is_given_up(server: Server, tmp_path: Path) -> None:
    server.way = "silent"
    with pytest.raises(ToolError, match="accepted the request but sent no answer"):
        fetch(server, tmp_path / "kind")


def test_a_download_that_takes_too_long_in_all_is_given_up(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="is too slow: 0 of"):
        fetch(server, tmp_path / "kind", Limits(total=-1.0))


def test_a_file_that_is_too_large_is_not_downloaded(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="is larger than 0 MB"):
        fetch(server, tmp_path / "kind", Limits(size=1000))


def test_nobody_listening_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        release.fetch("http://127.0.0.1:1/kind", SUM, tmp_path / "kind", QUICK)
    assert caught.value.message == "no connection to 127.0.0.1:1"
    assert "refused" in caught.value.evidence


def test_the_environment_s_proxy_is_used_and_its_password_not_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://someone:s3cret@127.0.0.1:{server.port}")
    with pytest.raises(ToolError) as caught:
        release.fetch("https://releases.invalid/kind", SUM, tmp_path / "kind", QUICK)
    assert server.requests == ["releases.invalid:443"]
    assert server.headers[0]["proxy-authorization"] == "Basic c29tZW9uZTpzM2NyZXQ="
    assert "403" in caught.value.evidence
    assert "s3cret" not in caught.value.message + caught.value.evidence


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with serving(Server(), tls=True) as server, pytest.raises(ToolError, match="no connection to") as caught:
        fetch(server, tmp_path / "kind")
    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.evidence
    assert server.requests == []


def test_an_authority_of_the_system_s_is_trusted_but_never_left_for_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with serving(Server(), tls=True) as secure:
        fetch(secure, tmp_path / "kind")
        assert (tmp_path / "kind").read_bytes() == KIND
        secure.way, secure.target = "moved", f"{server.base}/kind"
        with pytest.raises(ToolError, match="only https"):
            fetch(secure, tmp_path / "again")
    assert server.requests == []


def test_two_at_once_download_once(server: Server, project: Path) -> None:
    server.way = "held"
    first = process.Running([sys.executable, "-c", ENSURE, project], env=PACKAGE)
    assert server.half_sent.wait(20)
    second = process.Running([sys.executable, "-c", ENSURE, project], env=PACKAGE)
    deadline = time.monotonic() + 20
    while "waiting" not in second.tail and time.monotonic() < deadline:
        time.sleep(0.05)
    server.go_on.set()
    answers = [running.wait(30) for running in (first, second)]
    assert [answer.exit_code for answer in answers] == [0, 0], answers
    assert answers[0].stdout == answers[1].stdout
    assert len(server.requests) == 1


def test_killed_in_the_middle_of_a_download_the_next_run_makes_it_whole(server: Server, project: Path) -> None:
    server.way, server.failures = "held", 1
    running = process.Running([sys.executable, "-c", ENSURE, project], env=PACKAGE)
    assert server.half_sent.wait(20)
    os.kill(running.pid, signal.SIGKILL)
    running.wait(10)
    assert install.find("kind", "release", project) is None
    tool = install.ensure(["kind"], "release", project)["kind"]
    assert tool.path.read_bytes() == KIND
    assert [path.name for path in tool.path.parent.parent.iterdir()] == [tool.path.parent.name]  # no leftovers
