"""The files that `init` writes, as texts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from threezone import __version__
from threezone.core import names, schema
from threezone.core.settings import Cluster, GitOps
from threezone.extras import signed_file, templates
from threezone.extras.ci import pipeline
from threezone.extras.init.observe import Repository

SCHEMA = "local/invoke.schema.json"
DEVCONTAINER = ".devcontainer/threezone"
PRE_COMMIT = ".pre-commit-config.yaml"
_BY = "init"
_TASKS = '''"""The tasks of this repository: `threezone --list`. Your own may stand beside them, for `invoke`."""

from threezone.tasks import collection

namespace = collection()
'''
_NOXFILE = '''"""The checks of this repository: `nox -s e2e`."""

import nox


@nox.session(venv_backend="none")  # in the environment that has threezone
def e2e(session: nox.Session) -> None:
    """Bring up a lab of its own, deliver HEAD, prove that a commit creates, updates and destroys, and remove it."""
    lab = ("--name", "NAME")
    try:
        session.run("threezone", "up", "--yes", *lab, external=True)
        session.run("threezone", "gitops.prove", *lab, *session.posargs, external=True)
    finally:
        session.run("threezone", "down", "--yes", *lab, external=True)
'''
_KIND = """# The declared cluster: kind's own file. https://kind.sigs.k8s.io/docs/user/configuration/
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
"""
_PRE_COMMIT = """# Before a push: look for what cannot work in the commits. Once in each clone: pre-commit install
default_install_hook_types: [pre-push]
repos:
  - repo: local
    hooks:
      - id: threezone-gitops-check
        name: check what Flux would apply
        entry: sh -c 'exec threezone gitops.check --revision "${PRE_COMMIT_TO_REF:-HEAD}"'
        language: system
        always_run: true
        pass_filenames: false
        verbose: true
        stages: [pre-push]
"""
_INSTALL = ["python3 -m venv ~/.threezone/venv", f"~/.threezone/venv/bin/pip install -q -r {pipeline.REQUIREMENTS}",
            "mkdir -p ~/.local/bin", "ln -sf ~/.threezone/venv/bin/threezone ~/.local/bin/threezone",
            "threezone tools.install --shell"]  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What was asked for beside the files that every project gets."""

    devcontainer: bool = False
    pre_commit: bool = False
    ci: str = ""
    origin: str = ""  # where pip gets threezone; "" is the package index


def lab_name(repository: Repository) -> str:
    """The cluster's name: that of the settings, else one from the directory's name, so that projects do not collide."""
    chosen = repository.settings.cluster.name
    if repository.has_section or chosen != Cluster().name:
        return chosen
    name = re.sub(r"[^a-z0-9]+", "-", repository.root.name.lower()).strip("-")[:30].strip("-")
    return name or chosen


def config(repository: Repository) -> str:
    """The file that declares the cluster: that of the settings, else the repository's own, else ours."""
    chosen = repository.settings.cluster.config
    return chosen if repository.has_section else next(iter(repository.kind_files), chosen)


def files(repository: Repository, wanted: Wanted) -> dict[str, str]:
    """Every file by its path, with the line that says who made it."""
    lab = lab_name(repository)
    requirement = f"threezone @ {wanted.origin}" if wanted.origin else f"threezone=={__version__}"
    texts = {
        "tasks.py": _TASKS,
        "noxfile.py": _NOXFILE.replace("NAME", f"{lab}-e2e"),
        "invoke.yaml": _settings(repository),
        pipeline.REQUIREMENTS: f"# For pipelines and devcontainers.\n{requirement}\nnox\n",
    }
    if config(repository) == Cluster().config:
        texts[Cluster().config] = _KIND
    if repository.takes_sample and repository.settings.gitops.path == GitOps().path:
        sample = [*templates.below("local/gitops/apps/hello"), *templates.below(GitOps().path)]
        texts |= {path: templates.read(path) for path in sample}
    if wanted.devcontainer or f"{DEVCONTAINER}/devcontainer.json" in repository.devcontainers:
        texts |= _devcontainer()
    if wanted.pre_commit:
        texts[PRE_COMMIT] = _PRE_COMMIT
    signed = {
        path: text if path.endswith(".html") else signed_file.signed(_BY, text, _comment(path))
        for path, text in texts.items()
    }
    signed[SCHEMA] = _schema()
    if wanted.ci:
        signed[pipeline.OUTPUTS[wanted.ci]] = _pipeline(repository, wanted.ci, lab)
    return signed


def _comment(path: str) -> str:
    return "// {}" if path.endswith(".json") else "# {}"


def _settings(repository: Repository) -> str:
    path = f"\n    config: {json.dumps(config(repository))}" if config(repository) != Cluster().config else ""
    return f"""# yaml-language-server: $schema={SCHEMA}
# Only what differs from the defaults; an editor with that schema completes and explains the keys.
threezone:
  cluster:
    name: {json.dumps(lab_name(repository))}{path}
"""


def _schema() -> str:
    """The schema; its first line is JSON's only comment."""
    body = json.dumps(schema.invoke_yaml(), indent=1).partition("\n")[2] + "\n"
    return signed_file.signed(_BY, body, '{{ "$comment": "{}",')


def _pipeline(repository: Repository, kind: str, lab: str) -> str:
    runner = pipeline.runner(kind, "hosted" if kind == "github" else "socket")
    return pipeline.text(
        kind,
        pipeline.Pipeline(
            runner,
            names.for_jobs(lab),
            "threezone",
            setup=pipeline.install(kind, runner),
            branch=repository.settings.gitops.branch,
        ),
    )


def _devcontainer() -> dict[str, str]:
    source = ".devcontainer/dockerfile"
    texts = {PurePosixPath(path).name: templates.read(path) for path in templates.below(source)}
    definition = texts["devcontainer.json"].replace('"threezone, from Debian"', '"threezone"')
    install = json.dumps(["sh", "-c", " && ".join(_INSTALL)])
    definition = definition.replace('["./run", "invoke", "tools.install", "--shell"]', install)
    texts["devcontainer.json"] = definition.replace('"./run", "invoke"', '"threezone"')
    # The mode of a file is not ours to set, so the shell is named.
    texts["Dockerfile"] = texts["Dockerfile"].replace('ENTRYPOINT ["', 'ENTRYPOINT ["sh", "')
    return {f"{DEVCONTAINER}/{name}": text for name, text in texts.items()}
