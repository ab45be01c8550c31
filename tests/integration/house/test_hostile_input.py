"""Input that makes libraries raise: nobody sees a traceback, a library's words, or a secret."""

import base64
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.house.conftest import ROOT, invoke

from threezone.core.process import Completed, run

SECRET = "s3cr3t-t0ken"
CONTEXT = "kind-kind"


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


def config(user: dict[str, Any] | None = None, name: str = CONTEXT, **cluster: Any) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": "https://127.0.0.1:9", **cluster}}],
            "users": [{"name": name, "user": user or {"token": SECRET}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )


ENTRIES = {
    "a token with a line break": config({"token": f"{SECRET}\n"}),
    "a token with a NUL": config({"token": f"{SECRET}\0"}),
    "a token that is not ASCII": config({"token": f"{SECRET}é€"}),
    "no bracket": config(server="https://[::1"),
    "no opening bracket": config(server="https://::1]:6443"),
    "a port that is no number": config(server="https://h:port"),
    "a port of 5000 digits": config(server=f"https://h:{'7' * 5000}"),
    "a control character in the address": config(server="https://a\0b:6443"),
    "a host name that is too long": config(server=f"https://{'ü' * 70}.example:6443"),
    "a CA that is no PEM": config(None, **{"certificate-authority-data": base64.b64encode(SECRET.encode()).decode()}),
    "a key that is no PEM": config(
        {key: base64.b64encode(SECRET.encode()).decode() for key in ("client-certificate-data", "client-key-data")}
    ),
    "a proxy that is none": config(None, **{"proxy-url": f"socks9://me:{SECRET}@[x"}),
    "a number of 5000 digits": f"kind: Config\nusers: [{{name: u, user: {{token: {'7' * 5000}}}}}]\n",
}


def is_quiet(done: Completed) -> bool:
    said = done.stdout + done.stderr
    forbidden = ("Traceback", "fault of its own", SECRET, base64.b64encode(SECRET.encode()).decode(), "Invalid header")
    return not any(words in said for words in forbidden)


@pytest.mark.parametrize("task", [("kubeconfig.check", "--context", CONTEXT), ("status", "--json")], ids=" ".join)
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_that_makes_libraries_fail(project: Path, task: tuple[str, ...], entry: str) -> None:
    file = project / "config"
    file.write_text(entry)
    done = invoke(project, *task, KUBECONFIG=str(file))
    assert is_quiet(done), done.stdout + done.stderr


def test_a_token_file_that_is_not_utf_8(project: Path) -> None:
    (project / "token").write_bytes(b"\xff\xfe" + SECRET.encode())
    (project / "config").write_text(config({"tokenFile": "token"}))
    assert is_quiet(invoke(project, "kubeconfig.check", "--context", CONTEXT, KUBECONFIG=str(project / "config")))


@pytest.mark.parametrize("content", [config(), f"apiVersion: v1\nusers: [{{user: {{token: {SECRET}}}}}]\n"])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_kubeconfig_instead_of_its_path(project: Path, content: str, encoded: bool) -> None:
    value = base64.b64encode(content.ljust(200).encode()).decode() if encoded else content
    done = invoke(project, "kubeconfig.check", KUBECONFIG=value)
    assert is_quiet(done)
    assert done.exit_code == 2
    assert value not in done.stderr
    assert "not the path" in done.stderr
    assert ("base64 --decode" in done.stderr) is encoded


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_that_knows_ascii_only(project: Path, as_json: bool) -> None:
    (project / "config").write_text(config(name="kind-büro"))
    asked = ("kubeconfig.check", "--context", "kind-büro", *(["--json"] if as_json else []))
    done = invoke(project, *asked, KUBECONFIG=str(project / "config"), PYTHONIOENCODING="ascii")
    assert is_quiet(done), done.stderr
    assert done.exit_code == 5
    if as_json:
        assert json.loads(done.stdout)["context"] == "kind-büro"


@pytest.mark.parametrize("state", ["/proc/none/state", "{project}/tasks.py/state"])
def test_a_state_directory_that_cannot_be_made(project: Path, state: str) -> None:
    (project / "config").write_text(config())
    directory = state.format(project=project)
    done = invoke(project, "kubeconfig.remove", KUBECONFIG=str(project / "config"), THREEZONE_STATE=directory)
    assert is_quiet(done), done.stderr
    assert (done.exit_code, "THREEZONE_STATE" in done.stderr) == (2, True)


def test_a_fault_of_ours_has_a_traceback_only_with_debug(project: Path) -> None:
    (project / "tasks.py").write_text(
        "from threezone.tasks import collection\nfrom threezone.zones import check\n\n"
        f"def fail(_): raise KeyError('{SECRET}')\n\ncheck.check = fail\nnamespace = collection()\n"
    )
    (project / "config").write_text(config())
    asked = ("kubeconfig.check", "--context", CONTEXT)
    done = invoke(project, *asked, KUBECONFIG=str(project / "config"))
    assert done.exit_code == 1
    assert "KeyError" in done.stderr
    assert "--debug" in done.stderr
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in invoke(project, "--debug", *asked, KUBECONFIG=str(project / "config")).stderr


def test_a_caller_s_umask_does_not_make_our_files_writable_for_everybody(project: Path) -> None:
    (project / "config").write_text(config())
    quoted = shlex.join([sys.executable, "-m", "invoke", "kubeconfig.remove"])
    environment = {"PYTHONPATH": str(ROOT / "scripts"), "KUBECONFIG": str(project / "config")}
    run(
        ["sh", "-c", f"umask 000; {quoted}"],
        cwd=project,
        env={**environment, "THREEZONE_STATE": str(project / "deep" / "state")},
        timeout=60,
    )
    assert [path for path in project.rglob("*") if path.stat().st_mode & 0o002 and not path.is_symlink()] == []
