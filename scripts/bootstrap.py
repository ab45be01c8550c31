"""Make the Python environment of ./run. Standard library only: nothing is installed yet.

./run calls `bootstrap.py ENV LOCK WORDS…` when ENV has no file `complete` that equals LOCK; the words are its own. For
`bundle.load FILE` the packages come from that file, without a network. Exit codes as in docs/exit-codes.md: 2 when this
Python is unsuitable, 7 when installing failed.
"""

import fcntl
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEARTBEAT = 10.0  # seconds between progress messages
SHOWN = 20  # lines of a program that failed; pip names a failure of TLS only where it is not quiet
UNUSABLE, FAILED, INTERRUPTED = 2, 7, 130
# The files with the authorities that Debian, Fedora and macOS trust.
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
# What pip (OpenSSL) and uv (rustls) say about a certificate of an unknown authority.
INTERCEPTED = re.compile("CERTIFICATE_VERIFY_FAILED|UnknownIssuer|self.signed certificate")


def say(text: str) -> None:
    """Print a message to stderr; stdout belongs to the command that ./run starts."""
    sys.stderr.write(f"threezone: {text}\n")
    sys.stderr.flush()


def is_complete(env: Path, lock: Path) -> bool:
    """Whether `env` has everything in `lock`: the file `complete` is written last, and is a copy of the lock file."""
    try:
        return (env / "complete").read_bytes() == lock.read_bytes() and os.access(env / "bin" / "python", os.X_OK)
    except OSError:
        return False


def bundle_of(words: Sequence[str]) -> Path | None:
    """The file of `bundle.load FILE` in the words of ./run, if it exists; None for other words."""
    rest = list(words)
    if rest[:1] in (["invoke"], ["threezone"]):
        del rest[0]
    if rest[:1] != ["bundle.load"]:
        return None
    return next((Path(word) for word in rest[1:] if not word.startswith("-") and Path(word).is_file()), None)


def unpack_wheels(bundle: Path, into: Path) -> None:
    """Copy the wheels of a bundle, a tar archive, into a new directory. pip compares them with their hashes later."""
    into.mkdir()
    with tarfile.open(bundle, "r:") as tar:
        for entry in tar:
            directory, _, name = entry.name.partition("/")
            content = tar.extractfile(entry) if entry.isreg() and directory == "wheels" and "/" not in name else None
            if content is not None and name.endswith(".whl"):
                with (into / name).open("xb") as wheel:
                    shutil.copyfileobj(content, wheel)


def ways(env: Path, lock: Path, wheels: Path | None = None) -> list[list[list[str]]]:
    """The ways to make `env`, best first, each a list of commands. Every file is checked against its hash in `lock`.

    With `wheels`, packages come from that directory only.

    Wheels only: a source distribution would fetch its build tools unchecked. With the interpreter's real path, an
    upgrade of the system's Python leaves a dangling link, which ./run detects.
    """
    base = str(Path(sys.executable).resolve())
    target = str(env / "bin" / "python")
    exact = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(lock)]
    if wheels:
        exact += ["--no-index", "--find-links", str(wheels)]
    possible: list[list[list[str]]] = []
    if uv := shutil.which("uv"):
        possible.append([[uv, "venv", "--quiet", "--python", base, str(env)],
                      [uv, "pip", "install", "--compile-bytecode", "--python", target, *exact]])  # fmt: skip
    try:
        import ensurepip  # noqa: F401 - Debian has it in a package of its own
        import venv  # noqa: F401
    except ImportError:
        return possible
    possible.append([[base, "-I", "-m", "venv", str(env)],
                  [target, "-I", "-m", "pip", "install", "--disable-pip-version-check", *exact]])  # fmt: skip
    return possible


def trusted() -> dict[str, str]:
    """The variables by which pip and uv trust this system's authorities, where the user has set none.

    Both bring lists of their own, without the authority of a network that intercepts TLS.
    """
    known = (ssl.get_default_verify_paths().cafile, *AUTHORITIES)
    file = next((name for name in known if name and Path(name).is_file()), "")
    return {name: file for name in ("PIP_CERT", "SSL_CERT_FILE") if file and name not in os.environ}


def run(command: Sequence[str], began: float, changes: Mapping[str, str], *, keeps: int) -> str:
    """Run `command`, with a message every few seconds. Returns "", or what it said when it failed.

    It inherits the file descriptor `keeps`, and with it the lock: if we are killed, the lock lasts until the last
    program that writes into the environment has ended.
    """
    environment = {**os.environ, **changes, "PIP_USER": "0"}  # pip refuses --user inside an environment
    lines: list[str] = []
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "errors": "replace"}
    with subprocess.Popen(command, env=environment, pass_fds=[keeps], text=True, **output) as child:
        reader = threading.Thread(target=lambda: lines.extend(child.stdout or ()), daemon=True)
        reader.start()
        while child.returncode is None:
            try:
                child.wait(timeout=HEARTBEAT)
            except subprocess.TimeoutExpired:
                say(f"still installing ({time.monotonic() - began:.0f} s)")
        reader.join()
    if child.returncode == 0:
        return ""
    sys.stderr.writelines(lines[-SHOWN:])
    say(f"this failed with exit code {child.returncode}: {' '.join(command)}")
    return "".join(lines) or "no message"


def make(env: Path, lock: Path, wheels: Path | None, *, keeps: int) -> int:
    """Make `env` anew and mark it complete, from `wheels` if they are given. Returns the exit code."""
    possible = ways(env, lock, wheels)
    if not possible:
        say(f"error: {sys.executable} has no venv module, and there is no uv")
        say("fix: on Debian and Ubuntu: apt-get install -y python3-venv; then run this again")
        return UNUSABLE
    say(f"first use: making the environment in {env} from {lock.name} (once; about a minute without uv)")
    began = time.monotonic()
    problem = ""
    # First as the user's configuration has it, then with this system's authorities.
    changes: Sequence[Mapping[str, str]] = ({}, trusted())
    for change, way in ((change, way) for change in changes for way in possible):
        if change and not INTERCEPTED.search(problem):
            break
        if env.exists():
            shutil.rmtree(env)
        problem = next(filter(None, (run(command, began, change, keeps=keeps) for command in way)), "")
        if not problem:
            shutil.copyfile(lock, env / "complete.new")
            (env / "complete.new").replace(env / "complete")
            say(f"the environment is ready ({time.monotonic() - began:.0f} s)")
            return 0
    say("error: the environment could not be made; the lines above say why")
    if INTERCEPTED.search(problem):
        say("cause: a certificate is signed by an authority that is unknown here: does this network intercept TLS?")
        say("fix: export PIP_CERT=/path/of/authority.pem SSL_CERT_FILE=/path/of/authority.pem; then run this again")
        return FAILED
    if wheels:
        say("fix: make the bundle again with this version of threezone, and with this machine's version of Python")
        return FAILED
    say("fix: first use needs a package index: check the network and `python3 -m pip config list`, then run this again")
    return FAILED


def main(env: Path, lock: Path, words: Sequence[str] = ()) -> int:
    """Make `env` unless another ./run has just made it. The kernel releases the lock when its holders end."""
    os.umask(os.umask(0o077) | 0o002)  # whatever the caller's is: others must not write to the environment
    env.parent.mkdir(parents=True, exist_ok=True)
    with env.with_name(env.name + ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another ./run is making the environment; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        if is_complete(env, lock):
            return 0
        bundle = bundle_of(words)
        if bundle is None:
            return make(env, lock, None, keeps=handle.fileno())
        with tempfile.TemporaryDirectory(prefix=".wheels-", dir=env.parent) as directory:
            unpack_wheels(bundle, Path(directory, "wheels"))
            return make(env, lock, Path(directory, "wheels"), keeps=handle.fileno())


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
    except tarfile.TarError as error:
        say(f"error: this is not a complete bundle: {error}")
        say("fix: copy the file again, and compare its checksum with the one that bundle.save has printed")
        sys.exit(UNUSABLE)
    except OSError as error:
        say(f"error: {error}")
        say("fix: make room or permission there, or choose another place: THREEZONE_CACHE=/a/directory ./run …")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        say("interrupted; the next ./run starts over")
        sys.exit(INTERRUPTED)
