"""The text of a pipeline's file: settings in, text out. Pure, but for reading our own templates.

A template has marks, `@name@`. One that stands alone on its line becomes lines of the same indentation, or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from threezone.core.errors import UsageError
from threezone.extras.ci import file

Runner = Literal["dind", "socket", "shell", "hosted"]
OUTPUTS = {"gitlab": ".gitlab-ci.yml", "github": ".github/workflows/threezone.yml"}
IMAGE = "python:3.13-trixie"
DIND = "docker:27-dind"
# Each found pinned alike in many independent public repositories.
ACTIONS = {
    "checkout": "11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2",
    "upload": "ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2",
    "cache": "5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3",
}
_LOCKS = ("requirements.lock", "scripts/threezone/core/pins.toml", "local/pins.toml")
_ALONE = re.compile(r"^( *)@([a-z]+)@$")
_MARK = re.compile(r"@([a-z]+)@")


@dataclass(frozen=True)
class Pipeline:
    """What a file is made from. `lab` is the cluster's name in jobs, `invoke` how tasks are started there."""

    runner: Runner
    lab: str = "kind-ci"
    invoke: str = "./run invoke"
    image: str = ""
    setup: str = ""
    namespace: str = "prod"
    release: str = "local/gitops/release"
    branch: str = "main"


@dataclass(frozen=True)
class _Kind:
    """How jobs stand at a runner: what a reader is told, whether they are containers, with an engine of their own."""

    about: str
    route: str
    contained: bool
    dind: bool = False


_SOCKET = _Kind(
    "job containers with the engine's socket; whoever may start jobs there is root on the runner's machine",
    "The job's container joins the network kind, where the API server is https://NAME-control-plane:6443.",
    contained=True,
)
_DIND = _Kind(
    "an engine of its own beside each job, docker:dind; the runner has to be privileged",
    "The API server is at the service's alias, https://docker:6443 (TLS name localhost), or at the end of a tunnel.",
    contained=True,
    dind=True,
)
_SHELL = _Kind(
    "jobs are shells on the runner's machine, which has an engine",
    "The API server is where kind publishes it, https://127.0.0.1:6443.",
    contained=False,
)
_KINDS: dict[tuple[str, Runner], _Kind] = {
    ("gitlab", "socket"): _SOCKET,
    ("gitlab", "dind"): _DIND,
    ("gitlab", "shell"): _SHELL,
    ("gitlab", "hosted"): _DIND,
    ("github", "socket"): _SOCKET,
    ("github", "dind"): _DIND,
    ("github", "shell"): _SHELL,
    ("github", "hosted"): _Kind("GitHub's own machines, which have an engine", _SHELL.route, contained=False),
}


def runner(kind: str, asked: str) -> Runner:
    """A runner by its name. Raises UsageError for one that is none."""
    if (kind, asked) not in _KINDS:
        raise UsageError(
            f"--runner {asked!r} is no kind of runner; expected one of {', '.join(get_args(Runner))}",
            fix=f"./run invoke --help ci.{kind}",
        )
    return cast("Runner", asked)


def text(kind: str, asked: Pipeline) -> str:
    """The whole file for `gitlab` or `github`, with its first line. Raises UsageError for values that break it."""
    _check(asked)
    how = _KINDS[kind, asked.runner]
    marks: dict[str, Sequence[str]] = {
        "runner": [asked.runner],
        "about": [how.about],
        "route": [how.route],
        "invoke": [asked.invoke],
        "lab": [asked.lab],
        "namespace": [asked.namespace],
        "release": [asked.release],
        "branch": [asked.branch],
        "deliver": _deliver(),
        "logs": _LOGS,
        **{name: [pin] for name, pin in ACTIONS.items()},
        **(_gitlab(asked, how) if kind == "gitlab" else _github(asked, how)),
    }
    template = Path(__file__).with_name(f"{kind}.yml").read_text(encoding="utf-8")
    return file.signed(f"ci.{kind} --runner {asked.runner}", fill(template, marks))


def next_steps(kind: str, asked: Pipeline) -> tuple[str, ...]:
    """What is left to do, a line each."""
    check = "vendor.gitlab-ci" if kind == "gitlab" else "vendor.github-workflows"
    return (
        f"the lab runs as it is; it is made for {_KINDS[kind, asked.runner].about}",
        "to deliver to a real cluster, give its jobs a login: ./run invoke ci.kubeconfig --context CONTEXT",
        f"to check it against the published schema: check-jsonschema --builtin-schema {check} {OUTPUTS[kind]}",
    )


def fill(template: str, marks: Mapping[str, Sequence[str]]) -> str:
    """The template with its marks replaced. Pure. Raises KeyError for a mark that nobody knows."""
    lines: list[str] = []
    for line in template.splitlines():
        alone = _ALONE.match(line)
        if alone:
            lines.extend(f"{alone[1]}{each}".rstrip() for each in marks[alone[2]])
        else:
            lines.append(_MARK.sub(lambda mark: marks[mark[1]][0], line))
    return "\n".join(lines) + "\n"


def _check(asked: Pipeline) -> None:
    """What is written into the file must not become another part of it."""
    shapes = {
        "namespace": r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "release": r"(?!/)(?!.*\.\.)[A-Za-z0-9._/-]+",
        "branch": r"(?!-)[A-Za-z0-9._/-]+",
        "image": r"([a-z0-9][A-Za-z0-9._/:@-]*)?",
        "setup": r"[^\n\r]*",
    }
    for name, shape in shapes.items():
        if not re.fullmatch(shape, getattr(asked, name)):
            raise UsageError(f"--{name} {getattr(asked, name)!r} cannot stand in a pipeline's file")


def _deliver() -> list[str]:
    """The release as a commit, in sh. Where there is no Dockerfile, the commit is the release."""
    return [
        "# The release says which image belongs to this commit. It is written whole: nothing has to be parsed.",
        "if [ -f Dockerfile ]; then",
        '  mkdir -p "$RELEASE"',
        "  printf '%s\\n' 'apiVersion: kustomize.config.k8s.io/v1alpha1' 'kind: Component' 'images:' \\",
        '    "  - name: app" "    newName: $IMAGE" "    newTag: \\"$SHA\\"" >"$RELEASE/kustomization.yaml"',
        '  git add "$RELEASE"',
        "  # With the date of what it releases: a job that is run again makes the same commit. It starts no pipeline.",
        '  export GIT_AUTHOR_DATE="$(git show --no-patch --format=%cI)"',
        '  export GIT_COMMITTER_DATE="$GIT_AUTHOR_DATE"',
        "  git diff --cached --quiet || git -c user.name=threezone -c user.email=threezone@localhost \\",
        '    commit --quiet --message "Release $SHA [skip ci]"',
        "fi",
    ]


# What the job's login may look at, and no more.
_LOGS = (
    'kubectl --namespace "$NAMESPACE" get deployments,replicasets,pods --output wide || true',
    'kubectl --namespace "$NAMESPACE" get events --sort-by .lastTimestamp || true',
    'for pod in $(kubectl --namespace "$NAMESPACE" get pods --output name); do',
    '  kubectl --namespace "$NAMESPACE" logs "$pod" --all-containers --prefix --tail 200 || true',
    "done",
    'kubectl --namespace "${KUSTOMIZATION%/*}" get gitrepositories,kustomizations || true',
)
_CLIENT = (
    "command -v docker >/dev/null ||",
    "  { apt-get update -qq && apt-get install -y -qq --no-install-recommends docker-cli; }",
)
_AWAIT = ("# The service needs a moment.", "timeout 60 sh -c 'until docker info >/dev/null 2>&1; do sleep 1; done'")
_TRUST = {
    "GIT_CONFIG_COUNT": '"1"',
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": '"*"',
}


def _variables(how: _Kind) -> list[str]:
    lines = []
    if how.contained:
        lines.append(
            "# The checkout belongs to another user than the container's, which git refuses to read unless told."
        )
        lines += [f"{key}: {value}" for key, value in _TRUST.items()]
    if how.dind:
        lines.append("# The service's engine, on a network that only this job is on.")
        lines += ["DOCKER_HOST: tcp://docker:2375", 'DOCKER_TLS_CERTDIR: ""']
    return lines


def _gitlab(asked: Pipeline, how: _Kind) -> dict[str, Sequence[str]]:
    commands = [*(_CLIENT if how.contained else ()), *(_AWAIT if how.dind else ())]
    before = ["- |", *(f"  {line}" for line in commands)] if commands else []
    if asked.setup:
        before += ["- |", f"  {asked.setup}"]
    place = [f"image: {asked.image or IMAGE}"] if how.contained else []
    if how.dind:
        place += ["services:", f"  - name: {DIND}", "    alias: docker"]
    place += [f"# tags: [a-{asked.runner}-runner] # where several kinds of runners serve the project"]
    variables = _variables(how)
    cache: list[str] = []
    if how.contained:
        variables += ["THREEZONE_CACHE: $CI_PROJECT_DIR/.cache/threezone # GitLab keeps only what is in the checkout"]
        cache = ["cache: # tools, and Python's environment; whatever is made from them is checked by its sum", "  key:"]
        cache += [f"    files: [{', '.join(_LOCKS[:2])}]", "  paths: [.cache/threezone]"]
    resource = [] if how.dind else ["resource_group: $LAB # one at a time: the engine is shared, and so is its port"]
    return {"variables": variables, "place": place, "before": before, "cache": cache, "resource": resource}


def _github(asked: Pipeline, how: _Kind) -> dict[str, Sequence[str]]:
    machine = "ubuntu-24.04" if asked.runner == "hosted" else "self-hosted"
    place = [f"runs-on: {machine}"]
    if how.contained:
        place += ["container:", f"  image: {asked.image or IMAGE}"]
        place += [] if how.dind else ["  volumes: [/var/run/docker.sock:/var/run/docker.sock]"]
        place += ["defaults:", "  run:", "    shell: bash"]
    if how.dind:
        place += ["services:", "  docker:", f"    image: {DIND}", "    options: --privileged"]
        place += ["    env:", '      DOCKER_TLS_CERTDIR: ""']
    before: list[str] = []
    if how.contained:
        commands = [*_CLIENT, *(_AWAIT if how.dind else ())]
        before += ["- name: Have a docker client", "  run: |", *(f"    {line}" for line in commands)]
    if asked.setup:
        before += ["- name: Set up", "  run: |", f"    {asked.setup}"]
    variables = [line for line in _variables(how) if not line.startswith("DOCKER_TLS_CERTDIR")]
    cache: list[str] = []
    if asked.runner == "hosted":
        names = ", ".join(f"'{name}'" for name in _LOCKS)
        cache = [f"- uses: actions/cache@{ACTIONS['cache']}", "  with:", "    path: ~/.cache/threezone"]
        cache += ["    key: threezone-${{ runner.os }}-${{ runner.arch }}-${{ hashFiles(" + names + ") }}"]
    shared = asked.runner in ("socket", "shell")
    resource = [f"concurrency: {asked.lab} # one at a time: the engine is shared, and so is its port"] if shared else []
    return {"variables": variables, "place": place, "before": before, "cache": cache, "resource": resource}
