"""`threezone init` in repositories of several shapes: what it writes, what it leaves alone, what works then."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from threezone.core.process import Completed, run
from threezone.extras import signed_file

ROOT = Path(__file__).parents[3]
KIND = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nname: theirs\nnodes: [{role: control-plane}]\n"
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n"
SYNC = (
    "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps, namespace: flux-system}\n"
)

# Each shape: its files, and words that init says about it.
SHAPES: dict[str, tuple[dict[str, str], str]] = {
    "empty": ({}, "threezone up"),
    "kustomize": (
        {
            "deploy/base/kustomization.yaml": KUSTOMIZATION,
            "deploy/dev/kustomization.yaml": KUSTOMIZATION,
            "Dockerfile": "",
        },
        "../../../../deploy/dev",
    ),
    "helm": ({"charts/app/Chart.yaml": "name: app\nversion: 1.0.0\n"}, "the chart charts/app"),
    "flux": (
        {
            "apps/base/kustomization.yaml": KUSTOMIZATION,
            "clusters/staging/apps.yaml": SYNC,
            "clusters/production/flux-system/gotk-sync.yaml": SYNC,
            ".github/workflows/test.yaml": "on: push\n",
        },
        "clusters/production, clusters/staging",
    ),
    "kind and devcontainer": (
        {
            "hack/kind-config.yaml": KIND,
            ".devcontainer/devcontainer.json": '{"image": "debian"}\n',
            ".gitlab-ci.yml": "a: {}\n",
        },
        "declared by hack/kind-config.yaml",
    ),
}

Ask = Callable[..., Completed]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "My App"
    root.mkdir()
    run(["git", "init", "--quiet", root], timeout=30)
    return root


@pytest.fixture
def ask(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """The program, as it is installed: the repository has no ./run."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")

    def threezone(*arguments: str) -> Completed:
        command = [sys.executable, "-P", "-m", "threezone", *arguments]
        return run(command, cwd=repository, env={"PYTHONPATH": str(ROOT / "scripts")}, timeout=60, check=False)

    return threezone


def fill(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def texts(root: Path) -> dict[str, str]:
    paths = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts)
    return {str(path.relative_to(root)): path.read_text() for path in paths}


@pytest.mark.parametrize(("files", "words"), SHAPES.values(), ids=SHAPES)
def test_a_repository_is_prepared_and_stays_as_it_is(
    repository: Path, ask: Ask, files: dict[str, str], words: str
) -> None:
    fill(repository, files)
    done = ask("init", "--yes")
    assert done.exit_code == 0, done.stderr
    assert words in done.stdout
    written = texts(repository)
    assert {name: written[name] for name in files} == files, "files of others stay"
    assert {"tasks.py", "noxfile.py", "invoke.yaml", "local/invoke.schema.json"} <= set(written)
    assert ("local/kubernetes/kind.yaml" in written) == ("hack/kind-config.yaml" not in files)
    assert "local/gitops/apps/hello/deployment.yaml" in written
    assert ask("init").stdout.startswith("nothing to do")
    assert texts(repository) == written
    assert " init " in ask("--list").stdout
    planned = ask("cluster.plan", "--json")  # the declaration is read before the engine is looked for
    assert planned.exit_code == 3, planned.stderr
    schema = ["check-jsonschema", "--schemafile", "local/invoke.schema.json", "invoke.yaml"]
    assert run(schema, cwd=repository, timeout=60).exit_code == 0


def test_invoke_and_nox_know_their_files(repository: Path, ask: Ask) -> None:
    assert ask("init", "--yes").exit_code == 0
    env = {"PYTHONPATH": str(ROOT / "scripts")}
    listed = run([sys.executable, "-m", "invoke", "--list"], cwd=repository, env=env, timeout=60).stdout
    assert " gitops.push " in listed
    assert "* e2e" in run([sys.executable, "-m", "nox", "--list"], cwd=repository, env=env, timeout=60).stdout


def test_nothing_is_written_without_a_yes(repository: Path, ask: Ask) -> None:
    assert ask("init", "--dry-run").exit_code == 0
    refused = ask("init")
    assert refused.exit_code == 8
    assert "+namespace = collection()" in refused.stderr
    assert texts(repository) == {}


def test_an_edited_file_stays_and_an_old_one_is_renewed(repository: Path, ask: Ask) -> None:
    assert ask("init", "--yes").exit_code == 0
    first = texts(repository)
    kind, tasks, nox = (repository / name for name in ("local/kubernetes/kind.yaml", "tasks.py", "noxfile.py"))
    kind.write_text(f"{kind.read_text()}  - role: worker\n")
    edited = kind.read_text()
    assert ask("init").stdout.startswith("nothing to do"), "our text has not changed, so there is nothing newer"
    # Another release wrote these: one is as it was, one was edited.
    nox.write_text(signed_file.signed("init", "an older text\n"))
    older = "from threezone.tasks import collection\n\nnamespace = collection()\n"
    tasks.write_text(signed_file.signed("init", older) + "# edited\n")
    renewed = ask("init", "--yes")
    assert "threezone init --renew" in renewed.stdout
    assert texts(repository) == {**first, "local/kubernetes/kind.yaml": edited, "tasks.py": tasks.read_text()}
    asked = ask("init", "--renew")
    assert (asked.exit_code, "-# edited" in asked.stderr) == (8, True)
    assert ask("init", "--renew", "--yes").exit_code == 0
    assert texts(repository) == {**first, "local/kubernetes/kind.yaml": edited}


def test_a_deleted_sample_does_not_come_back(repository: Path, ask: Ask) -> None:
    assert ask("init", "--yes").exit_code == 0
    shutil.rmtree(repository / "local/gitops/apps")
    (repository / "local/gitops/clusters/local/kustomization.yaml").write_text(KUSTOMIZATION)
    assert ask("init", "--yes").stdout.startswith("nothing to do")


def test_a_project_below_the_top_of_its_repository(repository: Path, ask: Ask) -> None:
    assert ask("init", "--yes").exit_code == 0
    below = repository / "src"
    below.mkdir()
    command = [sys.executable, "-P", "-m", "threezone", "init"]
    again = run(command, cwd=below, env={"PYTHONPATH": str(ROOT / "scripts")}, timeout=60)
    assert again.stdout.startswith("nothing to do")


@pytest.mark.parametrize(
    ("kind", "file"), [("gitlab", ".gitlab-ci.yml"), ("github", ".github/workflows/threezone.yml")]
)
def test_a_pipeline_installs_threezone(repository: Path, ask: Ask, kind: str, file: str) -> None:
    assert ask("init", "--yes", "--ci", kind, "--devcontainer").exit_code == 0
    text = (repository / file).read_text()
    assert "install --quiet --requirement local/requirements.txt" in text
    assert "./run" not in text
    assert "requirements.lock" not in text
    assert "nothing to do" in ask(f"ci.{kind}").stdout, "the task of the same name agrees"
    assert "./run" not in (repository / ".devcontainer/threezone/devcontainer.json").read_text()
    vendor = {"gitlab": "vendor.gitlab-ci", "github": "vendor.github-workflows"}[kind]
    assert run(["check-jsonschema", "--builtin-schema", vendor, file], cwd=repository, timeout=120).exit_code == 0


def test_pre_commit_refuses_a_push_that_cannot_work(
    repository: Path, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask("init", "--yes", "--pre-commit").exit_code == 0
    program = tmp_path / "bin" / "threezone"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec env PYTHONPATH={ROOT}/scripts {sys.executable} -P -m threezone "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "pre-commit"))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    def git(*argv: str, check: bool = True) -> Completed:
        identity = ("-c", "user.name=A User", "-c", "user.email=user@example.invalid")
        return run(["git", *identity, *argv], cwd=repository, timeout=120, check=check)

    def commit() -> str:
        git("add", "--all")
        git("commit", "--quiet", "--message=a change")
        return git("rev-parse", "HEAD").stdout.strip()

    run(["git", "init", "--quiet", "--bare", tmp_path / "remote.git"], timeout=30)
    run([sys.executable, "-m", "pre_commit", "install"], cwd=repository, timeout=60)
    good = commit()
    push = ("push", str(tmp_path / "remote.git"), "HEAD:refs/heads/main")
    git(*push)
    delivered = repository / "local/gitops/clusters/local/kustomization.yaml"
    working = delivered.read_text()
    delivered.write_text(working + "  - no-such.yaml\n")
    commit()
    delivered.write_text(working)  # what is pushed counts, not the working tree
    refused = git(*push, check=False)
    assert refused.exit_code != 0
    assert "no-such.yaml" in refused.stdout + refused.stderr
    assert git("ls-remote", str(tmp_path / "remote.git"), "main").stdout.split()[0] == good


def test_outside_of_a_repository_there_is_a_cause_and_a_fix(ask: Ask, repository: Path) -> None:
    shutil.rmtree(repository / ".git")
    done = ask("init", "--yes")
    assert (done.exit_code, texts(repository)) == (2, {})
    assert "fix: " in done.stderr


def link_out(path: Path) -> None:
    outside = path.parents[1] / "outside"
    outside.mkdir(exist_ok=True)
    path.symlink_to(outside)


HOSTILE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a link to a file": ("tasks.py", lambda path: path.symlink_to("/etc/hostname"), "symbolic link"),
    "a dangling link": ("noxfile.py", lambda path: path.symlink_to("nowhere"), "symbolic link"),
    "a directory": ("tasks.py", Path.mkdir, "directory"),
    "a link out of the repository": ("local", link_out, "symbolic link"),
    "a file instead of a directory": ("local", lambda path: path.write_text(""), "file"),
    "a pipe": ("noxfile.py", os.mkfifo, "pipe"),
    "no text": ("noxfile.py", lambda path: path.write_bytes(b"\xff\xfe"), "not text"),
}


@pytest.mark.parametrize(("name", "make", "kind"), HOSTILE.values(), ids=HOSTILE)
def test_a_path_that_is_no_file_of_the_repository_is_refused(
    repository: Path, ask: Ask, name: str, make: Callable[[Path], object], kind: str
) -> None:
    make(repository / name)
    before = sorted(path for path in repository.parent.rglob("*") if ".git" not in path.parts)
    done = ask("init", "--yes")
    assert done.exit_code == 2, done.stdout
    assert name in done.stderr.splitlines()[0]
    assert kind in done.stderr
    assert "fix: " in done.stderr
    assert sorted(path for path in repository.parent.rglob("*") if ".git" not in path.parts) == before
