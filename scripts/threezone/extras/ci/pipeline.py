"""The text of a pipeline's file, from settings and the templates beside this module (jinja2, with << >> and <% %>)."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from threezone.core.errors import UsageError
from threezone.core.settings import RUN, launcher
from threezone.extras import signed_file

Runner = Literal["dind", "socket", "shell", "hosted"]
OUTPUTS = {"gitlab": ".gitlab-ci.yml", "github": ".github/workflows/threezone.yml"}
REQUIREMENTS = "local/requirements.txt"  # of a project that installed threezone as a package; `init` writes it
_LOCKS = "requirements.lock, scripts/threezone/core/pins.toml"
# Each digest, of an image or an action, was found pinned alike in independent public repositories.
IMAGE = "python:3.13-trixie@sha256:82c46c08c991d3d3ff10476ac5e386c2c28f27bbd3985a02c5e39fe99ab272eb"
DIND = "docker:27-dind@sha256:aa3df78ecf320f5fafdce71c659f1629e96e9de0968305fe1de670e0ca9176ce"
ACTIONS = {
    "checkout": "11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2",
    "upload": "ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2",
    "cache": "5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3",
}


@dataclass(frozen=True)
class Pipeline:
    """The settings of a file. `lab` is the cluster's name in jobs, `invoke` how tasks are started there."""

    runner: Runner
    lab: str = "kind-ci"
    invoke: str = "./run invoke"
    image: str = ""
    setup: str = ""
    namespace: str = "prod"
    release: str = "local/gitops/release"
    branch: str = "main"


@dataclass(frozen=True)
class _Place:
    """Where a runner's jobs run: a description, the route to the API server, and whether jobs are containers.

    `dind`: each job has an engine of its own beside it.
    """

    about: str
    route: str
    contained: bool = True
    dind: bool = False


_SOCKET = _Place(
    "job containers with the engine's socket; whoever may start jobs there is root on the runner's machine",
    "The job's container joins the network kind, where the API server is https://NAME-control-plane:6443.",
)
_DIND = _Place(
    "an engine of its own beside each job, docker:dind; the runner has to be privileged",
    "The API server is at the service's alias, https://docker:6443 (TLS name localhost), or at the end of a tunnel.",
    dind=True,
)
_SHELL = _Place(
    "jobs are shells on the runner's machine, which has an engine",
    "The API server is where kind publishes it, https://127.0.0.1:6443.",
    contained=False,
)
_HOSTED = _Place("GitHub's own machines, which have an engine", _SHELL.route, contained=False)
_PLACES: dict[str, dict[Runner, _Place]] = {
    "gitlab": {"socket": _SOCKET, "dind": _DIND, "shell": _SHELL, "hosted": _DIND},
    "github": {"socket": _SOCKET, "dind": _DIND, "shell": _SHELL, "hosted": _HOSTED},
}
# A value must not become another part of the file.
_SHAPES = {
    "namespace": r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    "release": r"(?!/)(?!.*\.\.)[A-Za-z0-9._/-]+",
    "branch": r"(?!-)[A-Za-z0-9._/-]+",
    "image": r"([a-z0-9][A-Za-z0-9._/:@-]*)?",
    "setup": r"[^\n\r]*",
}


def runner(kind: str, name: str) -> Runner:
    """A runner by its name. Raises UsageError for an unknown one."""
    if name not in get_args(Runner):
        raise UsageError(
            f"--runner {name!r} is not a runner; expected one of {', '.join(get_args(Runner))}",
            fix=f"./run invoke --help ci.{kind}",
        )
    return cast("Runner", name)


def setup(kind: str, runner: Runner, root: Path) -> str:
    """The command by which each job gets threezone; "" where the launcher does it, or nothing says how."""
    ours = launcher(root) == RUN
    return "" if ours or not (root / REQUIREMENTS).is_file() else install(kind, runner)


def install(kind: str, runner: Runner) -> str:
    """The command that installs threezone in a job; "" on a shell runner of GitLab, whose machine has to have it.

    A machine's own Python refuses packages, so a virtual environment is made there. GitLab runs `after_script` in a
    shell of its own, which would not find it.
    """
    if _PLACES[kind][runner].contained:
        return f"pip install --quiet --requirement {REQUIREMENTS}"
    if kind == "gitlab":
        return ""
    venv = "$RUNNER_TEMP/threezone-venv"
    command = f'"{venv}/bin/pip" install --quiet --requirement {REQUIREMENTS}'
    return f'python3 -m venv "{venv}" && {command} && echo "{venv}/bin" >>"$GITHUB_PATH"'


def text(kind: str, pipeline: Pipeline) -> str:
    """The whole file for `gitlab` or `github`, with its first line. Raises UsageError for values that break it."""
    import jinja2

    for name, shape in _SHAPES.items():
        if not re.fullmatch(shape, getattr(pipeline, name)):
            raise UsageError(f"--{name} {getattr(pipeline, name)!r} is not allowed in a pipeline's file")
    environment = jinja2.Environment(  # noqa: S701  YAML and shell: HTML's escapes would break them
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        trim_blocks=True,
    )
    values = {
        **asdict(pipeline),
        **asdict(_PLACES[kind][pipeline.runner]),
        "image": pipeline.image or IMAGE,
        "dind_image": DIND,
        "actions": ACTIONS,
        "hosted": pipeline.runner == "hosted",
        "cache_files": _LOCKS if pipeline.invoke == RUN else REQUIREMENTS,
        "shared": pipeline.runner in ("socket", "shell"),
    }
    body = environment.get_template(f"{kind}.yml").render(values)
    return signed_file.signed(f"ci.{kind} --runner {pipeline.runner}", body)


def next_steps(kind: str, pipeline: Pipeline) -> tuple[str, ...]:
    """The next steps, a line each."""
    schema = "vendor.gitlab-ci" if kind == "gitlab" else "vendor.github-workflows"
    return (
        f"the lab's job works as it is, for {_PLACES[kind][pipeline.runner].about}",
        "to deliver to a real cluster, give its jobs a login: ./run invoke ci.kubeconfig --context CONTEXT",
        f"to check it against the published schema: check-jsonschema --builtin-schema {schema} {OUTPUTS[kind]}",
    )
