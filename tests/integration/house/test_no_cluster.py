"""Every task that needs a cluster, where there is none: the exit code says so, and not that the command is wrong."""

import inspect
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from threezone.core.errors import ClusterError, EngineError
from threezone.core.process import Completed, find, run
from threezone.tasks import collection

ROOT = Path(__file__).parents[3]
NEED = {
    "addon.agent": "--token-file README.md", "addon.dashboard": "", "addon.ingress": "", "addon.proxy": "start",
    "addon.token": "", "app.deploy": "", "app.open": "",
    "app.release": "--build .devcontainer/dockerfile --image threezone/hello", "ci.kubeconfig": "--for gitlab",
    "cluster.inspect": "", "cluster.logs": "", "cluster.plan": "", "cluster.start": "", "cluster.status": "",
    "cluster.stop": "", "flux.check": "", "flux.install": "", "flux.reconcile": "", "flux.resume": "--all",
    "flux.status": "", "flux.suspend": "--all", "flux.uninstall": "", "gitops.diff": "", "gitops.prove": "",
    "gitops.push": "", "gitops.serve": "", "gitops.wait": "HEAD", "gitops.watch": "--once", "image.load": "hello",
    "kubeconfig.check": "", "kubeconfig.connect": "", "kubeconfig.export": "--for ci", "kubeconfig.show": "",
    "preview.list": "", "preview.open": "--branch main", "preview.prune": "", "preview.start": "--branch x",
    "preview.stop": "--branch x",
    "zones.probe": "",
}  # fmt: skip
# Tasks with a cluster's name that do something without one.
OTHERS = {
    "cluster.create", "cluster.delete", "doctor", "down", "gitops.check", "image.build", "kubeconfig.pick",
    "kubeconfig.remove", "secret.edit", "secret.init", "secret.list", "secret.rotate", "secret.set", "secret.show",
    "status", "tools.install", "up", "zones.show",
}  # fmt: skip


def test_the_tables_are_complete() -> None:
    whole = collection()
    named = {name for name in whole.task_names if "name" in inspect.signature(whole[name].body).parameters}
    assert named == set(NEED) | OTHERS


def answers(environment: Mapping[str, str | None]) -> dict[str, Completed]:
    """What each of the tasks says."""

    def ask(task: str) -> Completed:
        argv = [sys.executable, "-m", "invoke", task, *NEED[task].split()]
        return run(argv, cwd=ROOT, env=environment, stdin="", timeout=120, check=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(NEED, pool.map(ask, NEED), strict=True))


@pytest.mark.parametrize("engine", [True, False], ids=["an engine that does not run", "no docker program"])
def test_a_missing_cluster_or_engine_is_the_cause(tmp_path: Path, *, engine: bool) -> None:
    (tmp_path / "bin").mkdir()
    git = find("git")
    assert git
    (tmp_path / "bin" / "git").symlink_to(git)
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"} if engine else {"PATH": f"{tmp_path}/bin"}
    done = answers({"KUBECONFIG": str(tmp_path / "config"), "HTTPS_PROXY": None, "https_proxy": None, **nowhere})
    codes = {ClusterError.exit_code, EngineError.exit_code}
    wrong = {task: (each.exit_code, each.stderr) for task, each in done.items() if each.exit_code not in codes}
    assert wrong == {}
    assert all("fix: " in each.stderr for each in done.values())
    assert not (tmp_path / "config").exists()
    assert not (ROOT / "local/gitops/addons/ingress/crds").exists(), "nothing is written"
