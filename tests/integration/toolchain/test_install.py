"""Resolution, the cache and the tasks, with programs that really run."""

import json
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from tests.integration.toolchain.conftest import CERTIFICATE, PACKAGE, Server, serving

from threezone.core import process
from threezone.core.errors import ToolError, UsageError
from threezone.toolchain import install, installed


def program(directory: Path, name: str, says: str) -> Path:
    """A program called `name` that prints `says` and counts its starts in a file beside it."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\necho >> {path}.starts\ncat <<'END'\n{says}\nEND\n")
    path.chmod(0o755)
    return path


def invoke(project: Path, *arguments: str) -> process.Completed:
    """`invoke` in `project`, with nothing but our own output on stdout."""
    argv = [sys.executable, "-m", "invoke", *arguments]
    return process.run(argv, cwd=project, timeout=60, check=False, env=PACKAGE)


def test_a_suitable_program_on_path_comes_first(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    old = program(tmp_path / "a", "kind", "kind v0.30.0 go1.25.4 linux/amd64")
    right = program(tmp_path / "b", "kind", "kind v0.31.0 go1.25.5 linux/amd64")
    monkeypatch.setenv("PATH", f"{old.parent}:{right.parent}:/usr/bin:/bin")
    tool = install.ensure(["kind"], "auto", project)["kind"]
    assert (tool.path, tool.version, tool.channel) == (right, "0.31.0", "path")
    assert server.requests == []
    line = next(line for line in install.survey(project) if line.name == "kind")
    assert (line.tool, line.unsuitable) == (tool, (installed.Candidate(old, "0.30.0"),))


def test_a_channel_by_hand_passes_over_path(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setenv("PATH", f"{program(tmp_path / 'a', 'kind', 'kind v0.31.0 go1.25.5').parent}:/usr/bin:/bin")
    assert install.ensure(["kind"], "release", project)["kind"].channel == "release"
    assert server.requests == ["/v0.31.0/kind-" + "-".join(_platform())]
    assert install.ensure(["kind"], "auto", project)["kind"].channel == "path"


def test_our_own_directory_on_path_is_not_taken_for_the_user_s(
    project: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    tools = install.ensure(["kind"], "release", project)
    directory = install.bin_dir(tools)
    assert [path.name for path in directory.iterdir()] == ["kind"]
    assert install.bin_dir(tools) == directory
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    assert process.run(["kind", "version"], timeout=10).stdout.startswith("kind v0.31.0")
    assert install.find("kind", "auto", project) == tools["kind"]
    assert len(server.requests) == 1


def test_a_program_is_asked_once_and_a_script_every_time(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = program(tmp_path / "a", "kind", "kind v0.30.0 go1.25.4 linux/amd64")
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    for _ in range(3):
        assert install.find("kind", "auto", project) is None
    assert len(script.with_name("kind.starts").read_text()) == 3
    real = tmp_path / "b" / "flux"  # no script, and says no version
    real.parent.mkdir()
    real.write_bytes(Path(shutil.which("true") or "").read_bytes())
    real.chmod(0o755)
    monkeypatch.setenv("PATH", f"{real.parent}:/usr/bin:/bin")
    assert install.find("flux", "auto", project) is None
    remembered = json.loads((tmp_path / "cache" / "probes.json").read_text())
    assert remembered[str(real)][-1] == ""
    began = time.perf_counter()
    install.find("flux", "auto", project)
    assert time.perf_counter() - began < 0.02  # starting a program alone takes longer through the runner


def test_a_broken_memory_of_probes_is_forgotten(project: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "probes.json").write_text("[not json")
    assert install.find("kind", "auto", project) is None


@pytest.mark.usefixtures("server")
def test_verify_finds_a_changed_program(project: Path) -> None:
    kind = install.ensure(["kind"], "release", project)["kind"]
    assert [check.problem for check in install.verify(project)] == [""]
    kind.path.write_bytes(kind.path.read_bytes() + b"changed")
    (check,) = install.verify(project)
    assert check.tool == kind
    assert "its checksum is " in check.problem
    done = invoke(project, "tools.verify")
    assert done.exit_code == 7
    assert "its checksum is " in done.stdout
    assert f"rm -r {kind.path.parent}" in done.stderr


@pytest.mark.usefixtures("server")
def test_verify_compares_with_the_pin_and_not_with_the_record(project: Path) -> None:
    kind = install.ensure(["kind"], "release", project)["kind"]
    kind.path.write_bytes(kind.path.read_bytes() + b"changed")
    record = kind.path.parent / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"sha256": install._sha256(kind.path)}))
    assert "its checksum is " in install.verify(project)[0].problem


def test_a_platform_without_a_pinned_sum_says_what_to_add(project: Path) -> None:
    pins = project / "local" / "pins.toml"
    pins.write_text('[tools.kind]\nversion = "0.99.0"\n')
    with pytest.raises(ToolError, match=r"no checksum is pinned for kind 0\.99\.0 .*only the channel source") as caught:
        install.ensure(["kind"], "release", project)
    assert '[tools.kind.others."0.99.0"]' in caught.value.fix


@pytest.mark.usefixtures("server")
def test_a_cache_that_cannot_be_written_is_said_as_such(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREEZONE_CACHE", str(project / "tasks.py"))
    with pytest.raises(ToolError, match="kind could not be put into the cache: ") as caught:
        install.ensure(["kind"], "release", project)
    assert str(project / "tasks.py") in caught.value.fix


def test_an_unknown_name_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match=r"helmfile.*kind, kubectl, flux, helm, tofu, sops, age-keygen"):
        install.ensure(["helmfile"], "release", project)


def test_the_tasks_print_results_on_stdout_and_progress_on_stderr(project: Path, server: Server) -> None:
    before = json.loads(invoke(project, "tools.list", "--json").stdout)
    assert [(tool["name"], tool["wanted"], tool["found"]) for tool in before] == [
        ("kind", "0.31.0", None),
        ("kubectl", "1.35.0", None),
        ("flux", "2.7.3", None),
    ]
    missing = invoke(project, "tools.list", "--path")
    assert (missing.exit_code, missing.stdout) == (7, "")
    assert "not installed: kind, kubectl, flux" in missing.stderr
    done = invoke(project, "tools.install", "--name", "kind", "--channel", "release", "--json")
    (tool,) = json.loads(done.stdout)
    assert (tool["name"], tool["version"], tool["channel"]) == ("kind", "0.31.0", "release")
    assert f"download kind 0.31.0: 1 MB from 127.0.0.1:{server.port}, checksum as pinned" in done.stderr
    assert invoke(project, "tools.verify").exit_code == 0
    wrong = invoke(project, "tools.install", "--channel", "sauce")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "error: --channel is auto, release or source, not 'sauce'" in wrong.stderr


def _platform() -> tuple[str, str]:
    from threezone.toolchain import golang, release

    return release.system(), golang.architecture()


def test_a_network_that_shows_certificates_of_its_own_is_used_with_the_setting_only(project: Path) -> None:
    with serving(Server(), tls=True) as intercepting:
        pins = project / "local" / "pins.toml"
        pins.write_text(re.sub(r'base = ".*"', f'base = "{intercepting.base}"', pins.read_text()))
        command = ("tools.install", "--channel", "release", "--name", "kind", "--json")
        refused = invoke(project, *command)
        assert refused.exit_code == 7
        assert "certificate" in refused.stderr.lower()
        (project / "invoke.yaml").write_text(f"threezone: {{network: {{ca: {CERTIFICATE}}}}}\n")
        installed = invoke(project, *command)
        assert installed.exit_code == 0, installed.stderr
        assert json.loads(installed.stdout)[0]["channel"] == "release"
        (project / "invoke.yaml").write_text("threezone: {network: {ca: missing.pem}}\n")
        wrong = invoke(project, *command)
        assert wrong.exit_code == 2
        assert "threezone.network.ca" in wrong.stderr
