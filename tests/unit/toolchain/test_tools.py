import io
import tarfile
from pathlib import Path

import pytest

from threezone.core import net
from threezone.core.errors import ToolError, UsageError
from threezone.core.pins import ToolPin
from threezone.toolchain import flux_cli, installed, release


@pytest.mark.parametrize(
    ("name", "wanted", "version", "suitable"),
    [
        ("kind", "0.31.0", "0.31.0", True),
        ("kind", "0.31.0", "0.32.0-alpha+26ff7c4a1a2f1a", False),
        ("kind", "0.31.0", "", False),
        ("flux", "2.7.3", "2.7.5", False),
        ("kubectl", "1.35.0", "1.34.9", True),
        ("kubectl", "1.35.0", "1.36.1", True),
        ("kubectl", "1.35.0", "1.35.2+k3s1", True),
        ("kubectl", "1.35.0", "1.33.9", False),
        ("kubectl", "1.35.0", "1.37.0", False),
        ("kubectl", "1.35.0", "2.35.0", False),
        ("kubectl", "1.35.0", "1.35.0-dispatcher", False),
        ("kubectl", "1.35.0", "1.35.0-rc.1", False),
        ("kubectl", "1.35.0", "", False),
        ("helm", "3.20.2", "3.20.2", True),
        ("helm", "3.20.2", "3.21.0", True),
        ("helm", "3.20.2", "3.9.10", False),
        ("helm", "3.20.2", "4.0.0", False),
        ("tofu", "1.12.6", "1.13.0-beta1", False),
        ("tofu", "1.12.6", "", False),
        ("sops", "3.13.1", "3.13.3", True),
        ("sops", "3.13.1", "3.9.0", False),
        ("age-keygen", "1.3.1", "1.2.1", False),
    ],
)
def test_what_may_stand_for_the_pinned_version(name: str, wanted: str, version: str, suitable: bool) -> None:
    assert installed.suits(name, wanted, version) is suitable


@pytest.mark.parametrize(
    ("url", "first", "allowed"),
    [
        ("https://a.example/x", "https://b.example/x", True),
        ("http://a.example/x", "https://b.example/x", False),
        ("http://a.example/x", "http://a.example/x", False),
        ("http://127.0.0.1:80/x", "https://b.example/x", False),
        ("http://127.0.0.1:80/x", "http://localhost/x", True),
        ("http://[::1]/x", "http://localhost/x", True),
        ("http://127.0.0.1.example/x", "http://localhost/x", False),
        ("file:///x", "http://localhost/x", False),
    ],
)
def test_tls_is_never_left(url: str, first: str, allowed: bool) -> None:
    assert net._allowed(url, first) is allowed


@pytest.mark.parametrize(
    ("machine", "url"),
    [
        (("Linux", "x86_64"), "https://r.example/v2.7.3/flux_2.7.3_linux_amd64.tar.gz"),
        (("Darwin", "arm64"), "https://r.example/v2.7.3/flux_2.7.3_darwin_arm64.tar.gz"),
        (("Linux", "aarch64"), "https://r.example/v2.7.3/flux_2.7.3_linux_arm64.tar.gz"),
    ],
)
def test_the_address_of_a_release(monkeypatch: pytest.MonkeyPatch, machine: tuple[str, str], url: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine[1])
    monkeypatch.setattr(release, "system", machine[0].lower)
    pin = ToolPin(version="2.7.3", base="https://r.example/", path="v{version}/flux_{version}_{os}_{arch}.tar.gz")
    assert release.address(pin) == url


def test_the_member_of_an_archive_may_name_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr(release, "system", lambda: "darwin")
    assert release.fill_in("{os}-{arch}/helm", "3.20.2") == "darwin-arm64/helm"


def test_an_address_that_cannot_be_filled_in_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'\{platform\}/kind' in pins\.toml cannot be filled in"):
        release.address(ToolPin(version="1.0.0", base="https://r.example", path="{platform}/kind"))


def _archive(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for entry in entries:
            content = b"the program" if entry.isreg() else b""
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def _entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize("name", ["flux", "./flux"])
def test_the_one_member_is_unpacked(tmp_path: Path, name: str) -> None:
    archive = _archive(tmp_path / "a.tar.gz", _entry("../flux"), _entry(name))
    release.unpack(archive, "flux", tmp_path / "flux")
    assert (tmp_path / "flux").read_bytes() == b"the program"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "flux"]


@pytest.mark.parametrize(
    "entry",
    [_entry("other"), _entry("flux", tarfile.SYMTYPE, "/etc/passwd"), _entry("flux", tarfile.LNKTYPE, "/etc/passwd")],
)
def test_an_archive_without_the_program_itself_is_refused(tmp_path: Path, entry: tarfile.TarInfo) -> None:
    with pytest.raises(ToolError, match="has no file flux"):
        release.unpack(_archive(tmp_path / "a.tar.gz", entry), "flux", tmp_path / "flux")
    assert not (tmp_path / "flux").exists()


def test_what_is_no_archive_is_said_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"<html>")
    with pytest.raises(ToolError, match="cannot be read"):
        release.unpack(tmp_path / "a.tar.gz", "flux", tmp_path / "flux")


def test_a_base_that_names_something_else_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "manifests" / "bases" / "source-controller"
    base.mkdir(parents=True)
    (tmp_path / "cmd" / "flux").mkdir(parents=True)
    (base / "kustomization.yaml").write_text("resources:\n- account.yaml\n")
    with pytest.raises(ToolError, match="bases/source-controller is not as expected"):
        flux_cli.manifests(tmp_path / "kustomize", tmp_path)
