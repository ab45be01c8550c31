"""act runs GitHub's workflows without GitHub, on this machine instead of a hosted runner.

It is built from its Go module like our other programs. It replaces actions/checkout by a copy of the repository. The
other actions need the network; the small ones in the directory github/ replace them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.e2e import node

from threezone.core import paths, process
from threezone.core.process import Completed
from threezone.extras.ci.pipeline import ACTIONS
from threezone.toolchain import golang
from threezone.toolchain.golang import Program

MODULE, VERSION = "github.com/nektos/act", "v0.2.89"
STAND_INS = Path(__file__).with_name("github")
# GitHub's runner gives a step no terminal and no input. act gives it a terminal, whose last lines may be lost.
STEP = """#!{bash}
set -o pipefail
export PATH="${{PATH//{shims}:/}}"
{bash} "$@" </dev/null 2>&1 | tee -a {log}
"""


@dataclass(frozen=True)
class Act:
    """act for the project in `root`. Its files and those of its jobs are below `home`."""

    root: Path
    home: Path

    @property
    def artifacts(self) -> set[str]:
        """The files of the artifact `lab`; empty if there is none."""
        held = self.home / "artifacts" / "lab"
        return {path.name for path in held.iterdir()} if held.is_dir() else set()

    def run(
        self, *options: str, secrets: Mapping[str, str], variables: Mapping[str, str], env: Mapping[str, str]
    ) -> Completed:
        """Run the workflow for a push of HEAD. `stdout` of the result is the output of all steps."""
        shutil.rmtree(self.home, ignore_errors=True)
        shims, log = self.home / "shims", self.home / "steps.log"
        shims.mkdir(parents=True)
        (self.home / "home").mkdir()
        log.touch()
        bash = shims / "bash"
        bash.write_text(STEP.format(bash=shutil.which("bash"), shims=shims, log=log))
        bash.chmod(0o755)
        known = self.home / "secrets.yaml"
        known.touch(mode=0o600)
        known.write_text(yaml.safe_dump(dict(secrets)))
        chosen = ["--platform=ubuntu-24.04=-self-hosted", "--platform=self-hosted=-self-hosted", "--remote-name=github"]
        chosen += [f"--secret-file={known}", f"--action-cache-path={self.home / 'cache'}", "--no-cache-server", "--rm"]
        for name, action in (("upload", "actions/upload-artifact"), ("cache", "actions/cache")):
            pinned = ACTIONS[name].partition(" ")[0]
            chosen.append(f"--local-repository={action}@{pinned}={STAND_INS / action.rpartition('/')[2]}")
        chosen += [f"--var={name}={value}" for name, value in variables.items()]
        chosen += [f"--env={name}={value}" for name, value in env.items()]
        chosen.append(f"--env=ARTIFACTS={self.home / 'artifacts'}")
        done = process.run(
            [_program(), "push", *chosen, *options],
            cwd=self.root,
            env={
                "PATH": os.pathsep.join([str(shims), str(node._node().parent), os.environ["PATH"]]),
                "HOME": str(self.home / "home"),  # a machine of GitHub is new: no file of this user applies
                **{f"XDG_{kind}_HOME": None for kind in ("CACHE", "CONFIG", "DATA", "STATE")},
                **dict.fromkeys(("PYTHONPATH", "VIRTUAL_ENV", "KUBECONFIG", "THREEZONE_STATE", "DOCKER_CONFIG")),
                "THREEZONE_CACHE": str(paths.cache_dir()),
                "ACT_DISABLE_VERSION_CHECK": "1",
            },
            timeout=1800,
            check=False,
        )
        known.unlink()
        return Completed(done.argv, done.exit_code, log.read_text(), f"{done.stdout}\n{done.stderr}", done.seconds)


def _program() -> Path:
    return golang.build(Program(MODULE, VERSION, MODULE, "act"))
