"""A source that is not the lab's Git server: any HTTPS or SSH URL, with credentials in a Secret of the cluster.

The user's own git pushes there with the user's own credentials. Flux's credentials come from a file or the environment,
and go nowhere but into the Secret.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from threezone.clients.git.checkout import Checkout
from threezone.clients.kubernetes.api import Json
from threezone.core import process, redaction
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.events import step
from threezone.core.files import read_text
from threezone.delivery.repository import Commit, Rejected

USERNAME, PASSWORD = "THREEZONE_GIT_USERNAME", "THREEZONE_GIT_PASSWORD"
SSH_PORT = 22


def check(url: str) -> str:
    """Return the URL if both Flux and git can use it. Raises UsageError; a password in it is not repeated."""
    parts = urlsplit(url)
    if parts.password is not None:
        raise UsageError(
            "threezone.gitops.url holds a password: everybody who can read the file or the cluster's objects sees it",
            fix=f"change that password, take it out of the URL, and export {USERNAME} and {PASSWORD}",
        )
    if parts.scheme not in ("https", "ssh") or not parts.hostname or not parts.path.strip("/"):
        raise UsageError(
            f"threezone.gitops.url: {url!r} is not the https:// or ssh:// URL of a repository",
            fix="write git@host:path as ssh://git@host/path",
        )
    return url


def credentials(url: str, file: Path | None, known_hosts: Path, env: Mapping[str, str]) -> dict[str, str] | None:
    """Return what Flux needs to read `url`, by the Secret's keys (Flux's GitRepository API, `secretRef`), if anything.

    HTTPS: username and password from the environment, else from `file` with lines as git's credential helpers write
    them (`username=…`, `password=…`). SSH: `file` is the private key, and `known_hosts` has the host's keys: host keys
    are always checked. Raises UsageError.
    """
    if urlsplit(url).scheme == "ssh":
        return _ssh(url, file, known_hosts)
    if env.get(PASSWORD):
        data = {"username": env.get(USERNAME, ""), "password": env[PASSWORD]}
    elif file is not None:
        lines = (line.partition("=") for line in _read(file).splitlines())
        data = {key: value for key, _, value in lines if key in ("username", "password")}
    else:
        return None
    redaction.keep_secret(data.get("password", ""))
    if not (data.get("username") and data.get("password")):
        raise UsageError(
            f"the credentials for {urlsplit(url).hostname} lack a user name or a password",
            fix=f"export {USERNAME} and {PASSWORD} (with a token any user name works), or write username=… and "
            "password=… into the file that threezone.gitops.credentials names",
        )
    return data


def _ssh(url: str, file: Path | None, known_hosts: Path) -> dict[str, str]:
    if file is None:
        raise UsageError(
            "Flux needs a private key to read an ssh:// URL", fix="name its file: threezone.gitops.credentials"
        )
    key = _read(file)
    redaction.keep_secret(key)
    public = process.run(["ssh-keygen", "-y", "-P", "", "-f", file], timeout=30, check=False)
    if public.exit_code != 0:
        raise UsageError(
            f"{file} is not a private key without a passphrase",
            evidence=public.stderr.strip(),
            fix="ssh-keygen -t ed25519 -N '' -f FILE, and give its public half to the Git host as a deploy key",
        )
    parts = urlsplit(url)
    port = parts.port or SSH_PORT
    name = f"[{parts.hostname}]:{port}" if port != SSH_PORT else str(parts.hostname)
    listed = process.run(["ssh-keygen", "-F", name, "-f", known_hosts], timeout=30, check=False).stdout
    keys = [line for line in listed.splitlines() if line and not line.startswith("#")]
    if not keys:
        raise UsageError(
            f"{known_hosts} has no key of {name}: Flux could not verify the host",
            fix=f"ssh-keyscan -p {port} {parts.hostname} >> {known_hosts}, after comparing its fingerprint",
        )
    return {"identity": key, "identity.pub": public.stdout, "known_hosts": "\n".join(keys) + "\n"}


def _read(file: Path) -> str:
    if file.exists() and file.stat().st_mode & 0o077:
        raise UsageError(f"{file} can be read by others", fix=f"chmod 600 {file}")
    return read_text(file, fix="threezone.gitops.credentials")


def secret(name: str, namespace: str, data: Mapping[str, str]) -> Json:
    """Return the Secret with Flux's credentials. Pure."""
    labels = {"app.kubernetes.io/part-of": "threezone"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def push(root: Path, commit: Commit, url: str, branch: str, *, force: bool = False) -> None:
    """Push with the user's own git and credentials, unless the branch has the commit already. Raises DeliveryError."""
    # git cannot ask for a password here: a credential helper, an agent or a key without a passphrase has to have it.
    checkout, ref = Checkout(root), f"refs/heads/{branch}"
    with step(f"push {commit.sha[:7]} to {url}") as running:
        if checkout.remote_sha(url, ref) == commit.sha:
            running.result = "already there"
            return
        answer = checkout.push(url, f"{commit.sha}:{ref}", force=force)
        if answer.refused:
            raise Rejected(
                f"{url} does not take {commit.sha[:7]} on {branch}",
                evidence=answer.words,
                fix=f"git pull --rebase {url} {branch}",
            )
        if not answer.ok:
            raise DeliveryError(f"the push to {url} failed", evidence=answer.words, fix=f"git push {url} {branch}")
