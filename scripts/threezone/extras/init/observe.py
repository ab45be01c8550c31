"""What a repository has: files that declare a cluster, what Flux applies, apps, and where its pipelines run."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from threezone.clients.git.checkout import Checkout
from threezone.core import files, settings
from threezone.core.errors import ThreezoneError, UsageError
from threezone.core.settings import Settings
from threezone.extras import signed_file
from threezone.extras.ci import pipeline

_MOST = 2000  # YAML files that are read
_LARGEST = 64 << 10  # bytes of one
_KIND = re.compile(r"^apiVersion:\s*[\"']?kind\.x-k8s\.io/", re.MULTILINE)
_OVERLAYS = ("local", "dev", "development", "base")  # the one that a lab wants, best first


@dataclass(frozen=True)
class Repository:
    """A repository as it is. Paths are relative to `root`."""

    root: Path
    settings: Settings
    has_section: bool  # invoke.yaml has settings of ours
    kind_files: tuple[str, ...] = ()
    flux_clusters: tuple[str, ...] = ()  # directories that `flux bootstrap` was given
    kustomizations: tuple[str, ...] = ()
    charts: tuple[str, ...] = ()
    dockerfiles: tuple[str, ...] = ()
    devcontainers: tuple[str, ...] = ()
    forge: str = ""  # gitlab, github or ""
    has_pipeline: bool = False  # of ours
    takes_sample: bool = True  # nothing of the user's own is delivered yet


def observe(start: Path) -> Repository:
    """The repository that contains `start`. Raises UsageError outside of one."""
    top = Checkout(start).layout().top.resolve()
    root = settings.find_root(start)
    if not (root / "tasks.py").is_file() or not root.is_relative_to(top):
        root = top
    names = Checkout(root).files()
    chosen = settings.load(root)
    invoke_yaml = text_of(root, "invoke.yaml") or ""
    return Repository(
        root,
        chosen,
        has_section=bool(re.search(r"(?m)^threezone\s*:|[{,]\s*threezone\s*:", invoke_yaml)),
        kind_files=_kind_files(root, names, chosen.cluster.config),
        flux_clusters=_flux_clusters(names),
        kustomizations=_directories(names, "kustomization.yaml", "kustomization.yml", "Kustomization"),
        charts=_directories(names, "Chart.yaml"),
        dockerfiles=tuple(name for name in names if PurePosixPath(name).name == "Dockerfile" and name[0] != "."),
        devcontainers=tuple(name for name in names if name.endswith("devcontainer.json")),
        forge=_forge(names),
        has_pipeline=any(
            signed_file.is_ours(text_of(root, name) or "") for name in pipeline.OUTPUTS.values() if name in names
        ),
        takes_sample=_takes_sample(root, names, chosen.gitops.path),
    )


def _kind_files(root: Path, names: list[str], default: str) -> tuple[str, ...]:
    """The kind configurations, those near the root first; ours is none of them."""
    found = []
    candidates = [name for name in names if name.endswith((".yaml", ".yml")) and name != default]
    for name in sorted(candidates, key=lambda each: (each.count("/"), each))[:_MOST]:
        path = root / name
        try:
            state = path.lstat()
            if stat.S_ISREG(state.st_mode) and state.st_size <= _LARGEST and _KIND.search(files.read_text(path)):
                found.append(name)
        except (OSError, ThreezoneError):  # not readable: it declares nothing for us
            continue
    return tuple(found)


def _flux_clusters(names: list[str]) -> tuple[str, ...]:
    """Directories with a `flux-system` of `flux bootstrap`, and the directories of clusters/ that have manifests."""
    parents = {PurePosixPath(name).parent for name in names if name.endswith((".yaml", ".yml"))}
    bootstrapped = {parent.parent for parent in parents if parent.name == "flux-system"}
    clusters = {parent for parent in parents if parent.parent.name == "clusters"}
    return tuple(sorted(str(each) for each in bootstrapped | clusters if not str(each).startswith("local/gitops")))


def _directories(names: list[str], *files_: str) -> tuple[str, ...]:
    found = {str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name in files_}

    def rank(directory: str) -> tuple[int, str]:
        last = PurePosixPath(directory).name
        return (_OVERLAYS.index(last) if last in _OVERLAYS else len(_OVERLAYS), directory)

    return tuple(sorted((each for each in found if not each.startswith("local/gitops")), key=rank))


def _takes_sample(root: Path, names: list[str], path: str) -> bool:
    """Whether the delivered directory is empty or has our sample as we wrote it; a deleted one stays away."""
    index = f"{path}/kustomization.yaml"
    if any(name.startswith(f"{path}/") and name != index for name in names):
        return False
    text = text_of(root, index)
    return text is None or signed_file.is_unedited(text)


def _forge(names: list[str]) -> str:
    if ".gitlab-ci.yml" in names:
        return "gitlab"
    return "github" if any(name.startswith(".github/") for name in names) else ""


def text_of(root: Path, name: str) -> str | None:
    """The text of a file that we may replace; None for a missing one.

    Raises UsageError if the path is anything but a readable regular file in real directories of the repository: a link
    may lead out of it.
    """
    path = root
    for part in PurePosixPath(name).parts:
        path /= part
        is_last = path == root / name
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read: {os.strerror(error.errno or 0)}", fix=f"ls -ld {path.parent}"
            ) from None
        wanted = "file" if is_last else "directory"
        if not (stat.S_ISREG(mode) if is_last else stat.S_ISDIR(mode)):
            kind = "symbolic link" if stat.S_ISLNK(mode) else files.special_kind(path) or "file"
            raise UsageError(
                f"{path} is a {kind}, and init writes into real files and directories only",
                fix=f"move it away, or make it a {wanted}: ls -ld {path}",
            )
    return files.read_text(path, fix=f"chmod u+r {path}")
