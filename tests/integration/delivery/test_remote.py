"""Remote sources: what becomes a Secret, with the real ssh-keygen, and what the user's own git pushes."""

import base64
from pathlib import Path

import pytest

from threezone.core import process, redaction
from threezone.core.errors import DeliveryError, UsageError
from threezone.delivery import remote
from threezone.delivery.remote import PASSWORD, USERNAME
from threezone.delivery.repository import Rejected, head

HTTPS, SSH = "https://git.example.invalid/team/app.git", "ssh://git@git.example.invalid:2222/app.git"


@pytest.mark.parametrize("url", [HTTPS, SSH, "ssh://git@[::1]/app", "https://me@git.example.invalid/app"])
def test_https_and_ssh_urls_are_taken_as_they_are(url: str) -> None:
    assert remote.check(url) == url


@pytest.mark.parametrize(
    "url", ["git@git.example.invalid:app.git", "http://a.invalid/b", "file:///a", "https:///a", "x"]
)
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"is not the https:// or ssh:// URL"):
        remote.check(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        remote.check("https://me:s3cret@git.example.invalid/app")
    assert "s3cret" not in f"{caught.value.message} {caught.value.evidence} {caught.value.fix}"


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    file = private(tmp_path / "credentials", "protocol=https\nusername=file\npassword=of=file\n")
    assert remote.credentials(HTTPS, file, tmp_path, {}) == {"username": "file", "password": "of=file"}
    env = {USERNAME: "env", PASSWORD: "of-env"}
    assert remote.credentials(HTTPS, file, tmp_path, env) == {"username": "env", "password": "of-env"}
    assert remote.credentials(HTTPS, None, tmp_path, {}) is None
    assert redaction.redact("of=file of-env") == "*** ***"


def test_half_of_the_credentials_or_a_file_for_everybody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lack a user name or a password"):
        remote.credentials(HTTPS, None, tmp_path, {PASSWORD: "alone"})
    file = private(tmp_path / "credentials", "username=a\npassword=b\n")
    file.chmod(0o640)
    with pytest.raises(UsageError, match="can be read by others"):
        remote.credentials(HTTPS, file, tmp_path, {})
    with pytest.raises(UsageError, match="cannot be read"):
        remote.credentials(HTTPS, tmp_path / "none", tmp_path, {})


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file], timeout=30)
    return file


def test_ssh_takes_the_key_and_only_this_hosts_keys(tmp_path: Path, key: Path) -> None:
    public = key.with_suffix(".pub").read_text().strip()
    known = tmp_path / "known_hosts"
    known.write_text(f"other.invalid {public}\n[git.example.invalid]:2222 {public}\ngit.example.invalid {public}\n")
    found = remote.credentials(SSH, key, known, {PASSWORD: "not for ssh"})
    assert found == {
        "identity": key.read_text(),
        "identity.pub": f"{public}\n",
        "known_hosts": f"[git.example.invalid]:2222 {public}\n",
    }
    process.run(["ssh-keygen", "-H", "-f", known], timeout=30)
    hashed = remote.credentials(SSH, key, known, {}) or {}
    assert hashed["known_hosts"].startswith("|1|")


def test_an_unknown_host_is_never_trusted(tmp_path: Path, key: Path) -> None:
    known = tmp_path / "known_hosts"
    for text in (None, "git.example.invalid ssh-ed25519 AAAA\n"):
        if text:
            known.write_text(text)
        with pytest.raises(UsageError, match=r"has no key of \[git\.example\.invalid\]:2222"):
            remote.credentials(SSH, key, known, {})


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "locked"
    process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "passphrase", "-f", file], timeout=30)
    with pytest.raises(UsageError, match="not a private key without a passphrase"):
        remote.credentials(SSH, file, tmp_path, {})
    with pytest.raises(UsageError, match="needs a private key"):
        remote.credentials(SSH, None, tmp_path, {})


def test_the_secret_holds_what_was_found() -> None:
    made = remote.secret("lab-git", "flux-system", {"username": "a", "password": "bä"})
    assert base64.b64decode(made["data"]["password"]).decode() == "bä"
    assert made["metadata"]["name"] == "lab-git"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    process.run(["git", "init", "--quiet", "--initial-branch=main", root], timeout=30)
    process.run(["git", "-C", root, "config", "user.name", "A User"], timeout=30)
    process.run(["git", "-C", root, "config", "user.email", "user@example.invalid"], timeout=30)
    (root / "path").mkdir()
    commit(root, "one")
    return root


def commit(root: Path, text: str, *options: str) -> None:
    (root / "path" / "file").write_text(text)
    process.run(["git", "-C", root, "add", "--all"], timeout=30)
    process.run(["git", "-C", root, "commit", "--quiet", "--message", text, *options], timeout=30)


def test_a_push_goes_there_by_the_users_git_and_only_when_it_is_needed(tmp_path: Path, work: Path) -> None:
    bare = tmp_path / "bare.git"
    process.run(["git", "init", "--quiet", "--bare", bare], timeout=30)
    first = head(work, "path")
    remote.push(work, first, str(bare), "main")
    hook = bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho not today\nexit 1\n")
    hook.chmod(0o755)
    remote.push(work, first, str(bare), "main")
    commit(work, "two")
    with pytest.raises(Rejected) as refused:
        remote.push(work, head(work, "path"), str(bare), "main")
    assert "not today" in refused.value.evidence
    hook.unlink()
    remote.push(work, head(work, "path"), str(bare), "main")
    commit(work, "three", "--amend")
    with pytest.raises(Rejected):
        remote.push(work, head(work, "path"), str(bare), "main")
    remote.push(work, head(work, "path"), str(bare), "main", force=True)
    there = process.run(["git", "-C", bare, "rev-parse", "main"], timeout=30).stdout.strip()
    assert there == head(work, "path").sha
    with pytest.raises(DeliveryError, match="failed") as missing:
        remote.push(work, head(work, "path"), str(tmp_path / "none.git"), "main")
    assert not isinstance(missing.value, Rejected)
