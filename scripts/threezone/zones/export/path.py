"""The file of an export: private, and never where git would commit it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from threezone.clients.git import command
from threezone.clients.git.checkout import Checkout
from threezone.core import files, paths
from threezone.core.errors import UsageError
from threezone.kubeconfig import document, store
from threezone.kubeconfig.document import Document
from threezone.zones.export.targets import TARGETS


def default(name: str, target: str, *, job: bool = False) -> Path:
    """Return the file for an export of the cluster `name`, below the state directory; `job`: with a job's account."""
    return directory(name) / f"{target}{'-job' if job else ''}.yaml"


def directory(key: str) -> Path:
    """Return the directory of a cluster's exports, unless --output names another file."""
    return paths.cluster_dir(key) / "kubeconfig"


def forget(name: str) -> None:
    """Remove the exports of a deleted cluster from the default directory: their keys are void."""
    shutil.rmtree(directory(name), ignore_errors=True)
    for target in (*TARGETS, "any"):  # older releases had them all in one directory
        for job in ("", "-job"):
            _forget_old(paths.state_dir() / "kubeconfig" / f"{name}-{target}{job}.yaml", f"kind-{name}")


def _forget_old(file: Path, context: str) -> None:
    with suppress(UsageError):
        if file.is_file() and not _others(file, context):
            file.with_name(f"{file.stem}-pick.sh").unlink(missing_ok=True)
            file.unlink()


def guard(path: Path, context: str) -> Path:
    """Return the absolute path if an export may be written there. Nothing is written.

    Raises UsageError inside a git work tree that does not ignore it, and for a file that is not an earlier export of
    the same cluster. A pipe or device is not read.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they were named
    if os.pathsep in str(path):
        raise UsageError(f"{path} contains {os.pathsep!r}, so $KUBECONFIG cannot name it", fix="choose another")
    refuse_in_git(path, f"it goes below {paths.state_dir()} then")
    if path.is_dir():
        raise UsageError(f"{path} is a directory", fix="name a file in it")
    if files.is_stream(path):
        return path
    if others := _others(path, context):
        raise UsageError(
            f"{path} is not an earlier export of this cluster: it has {', '.join(others[:3])}",
            fix="name another file, for the export alone",
        )
    return path


def _others(path: Path, context: str) -> list[str]:
    """Return the contexts in a kubeconfig that do not belong to an export of `context`."""
    contexts = document.items(store.read({"KUBECONFIG": str(path)}).document, "contexts")
    return [other for other in contexts if other != context and not other.startswith(f"{context}@")]


def refuse_in_git(path: Path, otherwise: str) -> None:
    """Raise UsageError for a file that git would add. `otherwise` says where the file goes without --output."""
    for name in dict.fromkeys((path, Path(os.path.realpath(path)))):
        root = next((parent for parent in name.parents if (parent / ".git").exists()), None)
        if root is not None and not _ignored(name, root):
            raise UsageError(
                f"{path} is in the git work tree {root} and not ignored there: the credential could be committed",
                fix=f"leave --output out ({otherwise}), or name it in {root / '.gitignore'}",
            )


def _ignored(path: Path, root: Path) -> bool:
    return command.installed() and Checkout(root).ignores(path)


def write(path: Path, content: Document) -> None:
    """Replace the file with `content`, mode 0600, under the store's lock and atomically."""
    if files.is_stream(path):
        files.write_output(path, document.dump(content))
        return
    store.update(lambda _: content, env={"KUBECONFIG": str(path)})
    if path.stat().st_mode & 0o777 != files.PRIVATE:  # the store does not rewrite an equal file
        path.chmod(files.PRIVATE)
