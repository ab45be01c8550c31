"""The login of the local registry: one user, and a password that is made once.

The password is beside the images in the registry's volume, so that all projects of an engine share it, and so that it
is where only users of the engine can read it. It is never an argument, an environment variable or a log line.
Distribution knows passwords by their bcrypt hash only (registry/auth/htpasswd).
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from threezone.clients.docker import containers
from threezone.core import files, redaction
from threezone.core.errors import ToolError, UsageError
from threezone.images import engine_images

USER = "threezone"
_DIRECTORY = "threezone"  # in the volume; distribution's own directory is `docker`
_PASSWORD, _HASHES = f"{_DIRECTORY}/password", f"{_DIRECTORY}/htpasswd"
# The hash is asked with every request. A slow one would protect a password that can be guessed; this one is random.
_BCRYPT_ROUNDS = 4


def options(store: str) -> tuple[str, ...]:
    """The options of the registry's container, whose volume is mounted at `store`. Pure."""
    return (
        "--env=REGISTRY_AUTH=htpasswd",
        "--env=REGISTRY_AUTH_HTPASSWD_REALM=threezone",
        f"--env=REGISTRY_AUTH_HTPASSWD_PATH={store}/{_HASHES}",
    )


def ensure(container: str, store: str) -> None:
    """Make the password of a registry, running or not, unless its volume has one. Raises CommandFailed."""
    if containers.read(container, f"{store}/{_PASSWORD}") and containers.read(container, f"{store}/{_HASHES}"):
        return
    import bcrypt

    password = secrets.token_urlsafe(32)
    redaction.keep_secret(password)
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(_BCRYPT_ROUNDS)).decode()
    # The password first: without its hash it is made again.
    texts = {_PASSWORD: password, _HASHES: f"{USER}:{hashed}\n"}
    engine_images.put_texts(container, texts, directory=store, mode=0o600)


def password(container: str, store: str) -> str:
    """The password of a registry. Raises ToolError when its volume has none."""
    found = containers.read(container, f"{store}/{_PASSWORD}")
    if not found:
        raise ToolError(f"the registry {container} has no password yet", fix="./run invoke registry.start")
    value = found.decode()
    redaction.keep_secret(value)
    redaction.keep_secret(basic(value))
    return value


def basic(password: str) -> str:
    """The user and the password as HTTP and docker's configuration file write them (RFC 7617). Pure."""
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


def write(path: Path, names: Sequence[str], password: str) -> None:
    """Write the login for these names of the registry in docker's format: for crane, skopeo, and Secrets of pods.

    Raises UsageError for a file with anything else in it, such as docker's own file with other logins.
    """
    if path.is_file() and not files.is_stream(path) and (others := _others(files.read_text(path), names)):
        raise UsageError(
            f"{path} is not an earlier login of this registry: it has {others}",
            fix="name another file with --output, or leave --output out: docker then adds the login to its own file",
        )
    content = {"auths": {name: {"auth": basic(password)} for name in names}}
    files.write_output(path, json.dumps(content, indent=2) + "\n", fix="name another file with --output")


def _others(text: str, names: Sequence[str]) -> str:
    """What else a file of docker's format has than logins for `names`; "" for nothing. Pure."""
    if not text.strip():
        return ""
    try:
        content = json.loads(text)
        others = sorted({*content, *content.get("auths", {})} - {"auths", *names})
    except (ValueError, TypeError, AttributeError):
        return "another format"
    return ", ".join(others[:3])
