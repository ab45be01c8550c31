"""The docker program: where it is, which engine it uses, and what its error messages mean."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from threezone.core import process, redaction
from threezone.core.errors import EngineError
from threezone.core.process import Completed

DOCKER = "docker"
State = Literal[
    "ok", "missing", "stopped", "forbidden", "too-old", "old-client", "no-context", "certificates", "proxy",
    "no-socket", "podman", "unreachable", "broken",
]  # fmt: skip
# Where an engine of this machine listens that we may install or start (docker/cli and Debian's docker.socket).
OWN_SOCKETS = ("unix:///var/run/docker.sock", "unix:///run/docker.sock")

INSTALL = (
    "./run invoke engine.start --yes installs and starts Docker on Debian and Ubuntu as root; elsewhere install Docker "
    "Engine or Docker Desktop (https://docs.docker.com/engine/install/)"
)
VERSION = "unset DOCKER_API_VERSION if it is set, else upgrade"
# The problem in each state except ok, and its fix.
TROUBLE: dict[State, tuple[str, str]] = {
    "missing": ("no container engine is installed here", INSTALL),
    "stopped": (
        "the container engine is installed but not running",
        "./run invoke engine.start, or start Docker Desktop",
    ),
    "forbidden": (
        "this user may not talk to the container engine",
        "sudo usermod -aG docker $USER, then log in again (or use rootless Docker)",
    ),
    "too-old": ("the container engine is too old", f"{VERSION} Docker Engine to 20.10 or newer"),
    "old-client": (
        "the docker client here is too old for the container engine",
        f"{VERSION} the docker client to the engine's version",
    ),
    "no-context": (
        "the docker context that is chosen does not exist",
        "unset DOCKER_CONTEXT; docker context ls; docker context use default",
    ),
    "certificates": (
        "the certificates for the container engine are missing, or do not fit it",
        "unset DOCKER_TLS_VERIFY DOCKER_TLS; or export DOCKER_CERT_PATH=/directory/of/the/certificates",
    ),
    "proxy": (
        "the docker client goes to the container engine through a proxy, which does not lead there",
        "name the engine's host in NO_PROXY: export NO_PROXY=HOST",
    ),
    "no-socket": (
        "nothing serves the socket that DOCKER_HOST or the docker context names",
        "start Docker Desktop, or systemctl --user start docker; or unset DOCKER_HOST, docker context use default",
    ),
    "podman": (
        "the docker program here is Podman's, and threezone needs Docker's",
        "install Docker's client and engine, or put its docker first on PATH; Debian: apt-get remove podman-docker",
    ),
    "unreachable": ("the container engine does not answer", "check DOCKER_HOST and `docker context ls`"),
    "broken": ("the container engine cannot start a privileged container", "./run invoke engine.start"),
}


def program() -> Path | None:
    """The docker program's path, or None if it is not installed."""
    return process.find(DOCKER)


def run(
    *arguments: str | Path,
    timeout: float = 30,
    stdin: str | bytes | None = None,
    env: Mapping[str, str | None] | None = None,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run docker with these arguments; with `check`, raise CommandFailed for an exit code other than 0.

    Raises EngineError where docker is not installed.
    """
    try:
        argv = [DOCKER, *arguments]
        return process.run(argv, timeout=timeout, stdin=stdin, env=env, check=check, on_line=on_line)
    except process.MissingProgram as error:
        message, fix = TROUBLE["missing"]
        raise EngineError(message, evidence=error.message, fix=fix) from None


def ask(*arguments: str | Path, timeout: float = 30) -> list[str]:
    """The lines that docker prints. Raises EngineError when it fails."""
    done = run(*arguments, timeout=timeout, check=False)
    if done.exit_code != 0:
        raise explain(done.stderr.strip())
    return [line for line in done.stdout.splitlines() if line]


def info(timeout: float = 30) -> Completed:
    """The engine's facts as JSON. Raises CommandFailed only when it does not answer in time."""
    return run("info", "--format", "{{json .}}", timeout=timeout, check=False)


def version() -> Completed:
    """The versions of the client and the engine, as text."""
    return run("version", check=False)


def disk_usage() -> Completed:
    """The engine's use of the disk, as text."""
    return run("system", "df", check=False)


def endpoint() -> str:
    """The engine's address: DOCKER_HOST, else that of the current context, else the default socket."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    name = os.environ.get("DOCKER_CONTEXT") or _configured_context()
    if name and name != "default" and program():
        done = run("context", "inspect", name, "--format", "{{.Endpoints.docker.Host}}", timeout=10, check=False)
        if done.exit_code == 0 and done.stdout.strip():
            return done.stdout.strip()
    return OWN_SOCKETS[0]


def _configured_context() -> str:
    return str(_configuration()[1].get("currentContext") or "")


def _configuration() -> tuple[Path, dict[str, Any]]:
    """The docker client's own file, and what it says; {} for one that it could not read either."""
    directory = Path(os.environ.get("DOCKER_CONFIG") or Path(os.environ.get("HOME", "/")) / ".docker")
    try:
        return directory / "config.json", dict(json.loads((directory / "config.json").read_text()))
    except (OSError, ValueError, TypeError):
        return directory / "config.json", {}


def container_proxies() -> str:
    """Which proxies the docker client gives to every container, nodes included, and where that is written; "" for none.

    Credentials are not shown. (docker/cli, cli/config/configfile: ParseProxyConfig)
    """
    path, content = _configuration()
    found = content.get("proxies")
    proxies = (found.get(endpoint()) or found.get("default")) if isinstance(found, dict) else None
    if not isinstance(proxies, dict):
        return ""
    named = [key for key in ("httpProxy", "httpsProxy", "allProxy") if proxies.get(key)]
    but = f" except for {proxies['noProxy']}" if proxies.get("noProxy") else ""
    return f"{path} gives every container the proxy of {' and '.join(named)}{but}" if named else ""


def classify(message: str, address: str, *, daemon_installed: bool) -> State:
    """The state that the docker client's error message means (docker/cli and moby/client, `errors.go`).

    Only where nothing answers at a socket of this machine's own engine is an engine `missing` or `stopped`.
    """
    text = message.lower()
    if "command [ssh " in text:  # permission denied or connection refused by ssh, not by the engine
        return "unreachable"
    for words, state in _WORDS:
        if any(each in text for each in words):
            return state
    if "is the docker daemon running" in text or "connection refused" in text or "no such file" in text:
        if address in OWN_SOCKETS:
            return "stopped" if daemon_installed else "missing"
        if address.startswith("unix:"):
            return "no-socket"
    variables = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")
    return "proxy" if address.startswith("tcp:") and any(map(os.environ.get, variables)) else "unreachable"


PODMAN = "using podman"  # in what Podman's `docker` says of itself

# What the docker client says in a state; the first line that fits counts.
_WORDS: tuple[tuple[tuple[str, ...], State], ...] = (
    ((PODMAN,), "podman"),
    (("context not found", "is not found on the file system"), "no-context"),
    ((".pem:", "x509:", "tls:", "bad certificate", "certificate required"), "certificates"),
    (("unable to resolve docker endpoint",), "no-context"),
    (("proxyconnect",), "proxy"),
    (("permission denied",), "forbidden"),
    (("is too old. minimum supported api version",), "old-client"),
    (("is too new. maximum supported api version", "not supported by this client"), "too-old"),
)


def explain(message: str) -> EngineError:
    """The error for a docker command that failed with `message` because of the engine."""
    address = endpoint()
    return failure(classify(message, address, daemon_installed=process.find("dockerd") is not None), address, message)


def failure(state: State, address: str, evidence: str) -> EngineError:
    """The error for the unusable engine at `address`."""
    problem, fix = TROUBLE[state]
    return EngineError(redaction.redact(f"{problem} (engine: {address})"), evidence=redaction.redact(evidence), fix=fix)


def labels(values: Mapping[str, str]) -> list[str]:
    """The options that set these labels."""
    return [f"--label={key}={value}" for key, value in values.items()]
