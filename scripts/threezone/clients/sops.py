"""The programs sops and age-keygen. Clear text passes through pipes only, never through arguments or files of ours."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threezone.core import process, redaction
from threezone.core.files import read, write_atomic
from threezone.core.process import Completed

UNCHANGED = 200  # sops' exit code for an edit without a change (sops, cmd/sops/codes)
SECONDS = 60.0
KEY_FILE, KEY_COMMAND = "SOPS_AGE_KEY_FILE", "SOPS_AGE_KEY_CMD"
IN_MEMORY = Path("/dev/shm")  # noqa: S108  the directory made in it is private; a killed editor leaves nothing on a disk


@dataclass(frozen=True)
class Sops:
    """The program sops for the project at `root`, whose .sops.yaml it reads.

    It decrypts with the age identities in the file `identities`, and with those that the user has configured.
    """

    program: Path
    root: Path
    identities: Path

    def encrypt(self, text: str, file: Path) -> Completed:
        """Encrypt a YAML text as `file` of the project (its path decides for whom). The result is in `stdout`."""
        return self._run("encrypt", "--filename-override", file, "--input-type=yaml", "--output-type=yaml", stdin=text)

    def decrypt(self, file: Path) -> Completed:
        """Decrypt a file. The result is in `stdout`."""
        return self._run("decrypt", file)

    def with_value(self, file: Path, keys: Sequence[str], value: str) -> tuple[Completed, bytes]:
        """The content of a file with one more or another value, at these keys. Other values stay as they are."""
        argv = ("set", "--value-stdin", file.name, _index(keys))
        return self._on_copy(file, *argv, stdin=json.dumps(value))

    def without_value(self, file: Path, keys: Sequence[str]) -> tuple[Completed, bytes]:
        """The content of a file without the value at these keys."""
        return self._on_copy(file, "unset", "--idempotent", file.name, _index(keys))

    def rotated(self, file: Path, add: Sequence[str], remove: Sequence[str] = ()) -> Completed:
        """Encrypt all values of a file again, with a new data key and for other recipients. The result is in `stdout`.

        Whoever could read the file before knows its old data key, so removing a recipient alone would not be enough.
        """
        options = [f"--add-age={','.join(add)}"] if add else []
        options += [f"--rm-age={','.join(remove)}"] if remove else []
        return self._run("rotate", *options, file)

    def edited(self, file: Path) -> tuple[int, bytes]:
        """Open a file in the user's editor, on this terminal. Returns the exit code and the new content."""
        memory = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="threezone-", dir=memory) as private:
            copy = Path(private) / file.name
            write_atomic(copy, read(file))
            # sops writes the clear text for the editor into TMPDIR.
            env = {**self._environment(), "TMPDIR": private}
            code = process.run_in_foreground([self.program, "edit", copy], env=env)
            return code, read(copy)

    def _on_copy(self, file: Path, *argv: str, stdin: str = "") -> tuple[Completed, bytes]:
        """Let sops change a copy, which has encrypted values only: it does not replace files as a whole."""
        with tempfile.TemporaryDirectory(prefix="threezone-") as private:
            copy = Path(private) / file.name
            write_atomic(copy, read(file))
            return self._run(*argv, stdin=stdin, cwd=copy.parent), read(copy)

    def _run(self, *argv: str | Path, stdin: str = "", cwd: Path | None = None) -> Completed:
        command = [self.program, "--disable-version-check", *argv]
        env = self._environment()
        return process.run(command, timeout=SECONDS, cwd=cwd or self.root, env=env, stdin=stdin, check=False)

    def _environment(self) -> dict[str, str | None]:
        """Our identities in the first variable of sops that the user does not need."""
        if not self.identities.is_file():
            return {}
        if not os.environ.get(KEY_FILE):
            return {KEY_FILE: str(self.identities)}
        return {} if os.environ.get(KEY_COMMAND) else {KEY_COMMAND: shlex.join(["cat", str(self.identities)])}


def _index(keys: Sequence[str]) -> str:
    """A path to a value as sops reads it, such as ["stringData"]["password"]."""
    return "".join(f"[{json.dumps(key)}]" for key in keys)


def new_identity(keygen: Path) -> str:
    """A new age identity, as the text of an identity file. Its private key is redacted from now on."""
    text = process.run([keygen], timeout=SECONDS).stdout
    hide(text)
    return text


def recipients(keygen: Path, identities: Path) -> tuple[str, ...]:
    """The recipients (public keys) of the identities in a file, in its order. Raises CommandFailed."""
    done = process.run([keygen, "-y", identities], timeout=SECONDS, hint=f"correct {identities}, or restore it")
    return tuple(done.stdout.split())


def hide(identities: str) -> None:
    """Redact the private keys of an identity file from now on."""
    for line in identities.splitlines():
        if line and not line.startswith("#"):
            redaction.keep_secret(line.strip())
