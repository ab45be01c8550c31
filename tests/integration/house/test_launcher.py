"""The launcher, really run: a checkout with a lock file of one wheel, an index of its own and a PATH of its own."""

import base64
import functools
import hashlib
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.integration.toolchain.conftest import CERTIFICATE

from threezone.core.process import Completed, Running, run

ROOT = Path(__file__).parents[3]
PYTHON = Path(sys.executable).resolve()
TIMEOUT = 120


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that writes no log."""

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Checkout:
    """A checkout of the launcher alone, on a machine that has the programs in `bin` and nothing else."""

    root: Path
    bin: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def lock(self) -> Path:
        return self.root / "requirements.lock"

    def environment(self) -> dict[str, str | None]:
        return {**dict.fromkeys(os.environ), "PATH": str(self.bin), **self.env}

    def run(self, *arguments: str, cwd: Path | None = None) -> Completed:
        command = [str(self.root / "run"), *arguments]
        return run(command, timeout=TIMEOUT, check=False, env=self.environment(), cwd=cwd)

    def add(self, program: str) -> None:
        """Give the machine a program of this one."""
        found = shutil.which(program)
        assert found, program
        (self.bin / program).symlink_to(found)

    def environments(self) -> list[Path]:
        return sorted(path for path in Path(self.env["THREEZONE_CACHE"], "env").glob("*") if path.is_dir())


def wheel(folder: Path, version: str) -> str:
    """Write a wheel of the package `tiny`, as PEP 427 describes it, and return its line for a lock file."""
    folder.mkdir(exist_ok=True)
    path = folder / f"tiny-{version}-py3-none-any.whl"
    files = {
        "tiny.py": f'VERSION = "{version}"\n',
        f"tiny-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"tiny-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
            archive.writestr(name, text)
        archive.writestr(f"tiny-{version}.dist-info/RECORD", record + f"tiny-{version}.dist-info/RECORD,,\n")
    return f"tiny=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, bin_, index = tmp_path / "a check out", tmp_path / "bin", tmp_path / "index"
    (root / "scripts").mkdir(parents=True)
    bin_.mkdir()
    shutil.copy(ROOT / "run", root / "run")
    shutil.copy(ROOT / "scripts" / "bootstrap.py", root / "scripts")
    (bin_ / "python3").symlink_to(PYTHON)
    (root / "requirements.lock").write_text(wheel(index, "1.0"))
    places = {"HOME": str(tmp_path / "home"), "THREEZONE_CACHE": str(tmp_path / "the cache")}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": index.as_uri()}
    uv = {"UV_NO_CONFIG": "1", "UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(index)}
    made = Checkout(root, bin_, {**places, **pip, **uv, "UV_CACHE_DIR": str(tmp_path / "uv")})
    for program in ("sh", "dirname", "cksum", "uname", "cmp", "uv"):
        made.add(program)
    return made


@pytest.fixture
def pip_only(checkout: Checkout) -> Checkout:
    """A checkout where the environment is made by venv and pip, which takes seconds instead of a moment."""
    (checkout.bin / "uv").unlink()
    return checkout


def script(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def old_python(checkout: Checkout) -> None:
    """What ./run asks of an interpreter, answered as Python 2.7 answers it."""
    script(checkout.bin / "python3", '[ "$1" = -V ] && { echo "Python 2.7.18" >&2; exit 0; }; exit 1')


ASK = ("python", "-c", "import sys, tiny; print(tiny.VERSION, sys.prefix)")


def test_first_use_installs_the_lock_file(pip_only: Checkout, tmp_path: Path) -> None:
    done = pip_only.run(*ASK, cwd=tmp_path)
    [env] = pip_only.environments()
    assert (done.exit_code, done.stdout) == (0, f"1.0 {env}\n"), done.stderr
    assert "making the environment" in done.stderr
    assert "ready" in done.stderr


def test_later_uses_are_silent_quick_and_offline(checkout: Checkout, tmp_path: Path) -> None:
    assert checkout.run(*ASK).exit_code == 0
    shutil.rmtree(tmp_path / "index")
    checkout.add("true")
    [env] = checkout.environments()
    shutil.copy(checkout.bin / "true", env / "bin" / "true")
    later = checkout.run(*ASK)
    assert (later.exit_code, later.stdout[:3], later.stderr) == (0, "1.0", "")

    def seconds(*command: str | Path) -> float:
        began = time.perf_counter()
        subprocess.run(command, env=checkout.env | {"PATH": str(checkout.bin)}, check=True)
        return time.perf_counter() - began

    through, direct = zip(*((seconds(checkout.root / "run", "true"), seconds("true")) for _ in range(20)), strict=True)
    assert min(through) - min(direct) < 0.050, "the launcher adds at most 50 ms"


def test_uv_is_used_if_it_is_installed(checkout: Checkout) -> None:
    done = checkout.run(*ASK)
    [env] = checkout.environments()
    assert (done.exit_code, done.stdout) == (0, f"1.0 {env}\n"), done.stderr
    assert "uv" in (env / "pyvenv.cfg").read_text()


def test_pip_is_used_if_uv_fails(checkout: Checkout) -> None:
    checkout.env["UV_FIND_LINKS"] = "/nonexistent"  # as where only pip was told of the index that is reachable
    done = checkout.run(*ASK)
    assert (done.exit_code, done.stdout[:3]) == (0, "1.0"), done.stderr
    assert "failed with exit code" in done.stderr


def test_a_changed_lock_file_makes_a_new_environment(checkout: Checkout, tmp_path: Path) -> None:
    assert checkout.run(*ASK).stdout.startswith("1.0 ")
    checkout.lock.write_text(wheel(tmp_path / "index", "1.1"))
    assert checkout.run(*ASK).stdout.startswith("1.1 ")
    assert len(checkout.environments()) == 2


def test_an_environment_of_another_interpreter_is_left_alone(checkout: Checkout) -> None:
    """As where a host and a container share the home directory: each place makes one, and both stay."""
    checkout.run(*ASK)
    [env] = checkout.environments()
    theirs = env.rename(env.with_name(f"{env.name}-of-another"))
    (theirs / "bin" / "python").unlink()
    (theirs / "bin" / "python").symlink_to("/nonexistent/python3.99")
    assert checkout.run(*ASK).stdout == f"1.0 {env}\n"
    again = checkout.run(*ASK)
    assert (again.stdout, again.stderr) == (f"1.0 {env}\n", "")
    assert checkout.environments() == [env, theirs]
    assert (theirs / "complete").read_bytes() == checkout.lock.read_bytes()


def test_another_name_of_the_interpreter_uses_the_same_environment(checkout: Checkout) -> None:
    checkout.run(*ASK)
    [env] = checkout.environments()
    (env / "complete").unlink()  # so that an interpreter is looked for again
    (checkout.bin / "python3").rename(checkout.bin / f"python3.{sys.version_info.minor}")
    assert checkout.run(*ASK).stdout == f"1.0 {env}\n"
    assert checkout.environments() == [env]


def test_a_wheel_with_another_hash_is_refused(checkout: Checkout) -> None:
    name, _ = checkout.lock.read_text().split("sha256:")
    checkout.lock.write_text(f"{name}sha256:{'0' * 64}\n")
    done = checkout.run(*ASK)
    assert done.exit_code == 7
    assert done.stdout == ""
    assert "error: the environment could not be made" in done.stderr
    assert checkout.run(*ASK).exit_code == 7, "what failed is not taken for whole"


def test_concurrent_first_uses_make_one_environment(pip_only: Checkout) -> None:
    together = [Running([pip_only.root / "run", *ASK], env=pip_only.environment()) for _ in range(4)]
    done = [one.wait(TIMEOUT) for one in together]
    assert [one.exit_code for one in done] == [0] * 4, [one.stderr for one in done]
    assert len({one.stdout for one in done}) == 1
    assert sum("making the environment in" in one.stderr for one in done) == 1


@contextmanager
def half_way(checkout: Checkout, *command: str | Path) -> Iterator[Running]:
    """`command` running, and just past the point where the environment's directory exists."""
    with Running(command, env=checkout.environment()) as running:
        deadline = time.monotonic() + TIMEOUT
        while not any((env / "pyvenv.cfg").exists() for env in checkout.environments()):
            assert running.alive, running.tail
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield running


def test_the_next_start_repairs_a_killed_installation(pip_only: Checkout) -> None:
    with half_way(pip_only, pip_only.root / "run", *ASK) as first:
        os.killpg(first.pid, signal.SIGKILL)
        assert first.wait(TIMEOUT).exit_code != 0
    done = pip_only.run(*ASK)
    assert (done.exit_code, done.stdout[:3]) == (0, "1.0"), done.stderr


def test_an_installer_whose_parent_was_killed_is_waited_for(checkout: Checkout) -> None:
    checkout.run(*ASK)
    [env] = checkout.environments()
    (env / "complete").unlink()
    (env / "pyvenv.cfg").unlink()
    (checkout.bin / "uv").unlink()
    with half_way(checkout, PYTHON, checkout.root / "scripts" / "bootstrap.py", env, checkout.lock) as first:
        os.kill(first.pid, signal.SIGKILL)  # its child lives on, and writes on
        done = checkout.run(*ASK)
    assert (done.exit_code, done.stdout[:3]) == (0, "1.0"), done.stderr
    assert "waiting for it" in done.stderr
    assert "making the environment" in done.stderr


def test_an_environment_without_its_python_is_made_again(checkout: Checkout) -> None:
    checkout.run(*ASK)
    [env] = checkout.environments()
    (env / "bin" / "python").unlink()
    (env / "bin" / "python").symlink_to("/nonexistent/python3")
    done = checkout.run(*ASK)
    assert (done.exit_code, done.stdout[:3]) == (0, "1.0"), done.stderr


def in_a_bundle(path: Path, *wheels: Path, damage: bool = False) -> Path:
    """A bundle with these wheels, beside members that are none of the launcher's business."""
    with tarfile.open(path, "w") as tar:
        for name, file in {"manifest.json": Path(__file__), **{f"wheels/{each.name}": each for each in wheels}}.items():
            tar.add(file, name)
        for name in ("wheels/../outside.whl", "wheels/link.whl"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE if "link" in name else tarfile.REGTYPE, "/etc/passwd"
            tar.addfile(entry)
    if damage:
        path.write_bytes(path.read_bytes()[:-11_000])
    return path


@pytest.mark.parametrize("words", [("bundle.load",), ("invoke", "bundle.load")], ids=["uv", "pip"])
def test_without_a_package_index_the_packages_come_from_a_bundle(
    checkout: Checkout, tmp_path: Path, words: tuple[str, ...]
) -> None:
    if "invoke" in words:
        (checkout.bin / "uv").unlink()
    package = checkout.root / "scripts" / "threezone"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text("import sys, tiny\nprint(tiny.VERSION, *sys.argv[1:])\n")
    bundle = in_a_bundle(tmp_path / "a bundle", *(tmp_path / "index").iterdir())
    shutil.rmtree(tmp_path / "index")
    assert checkout.run("status").exit_code == 7
    done = checkout.run(*words, str(bundle))
    assert (done.exit_code, done.stdout) == (0, f"1.0 {' '.join(words)} {bundle}\n"), done.stderr
    assert not (tmp_path / "outside.whl").exists()
    assert not list(Path(checkout.env["THREEZONE_CACHE"]).rglob("*.whl"))


def test_a_bundle_whose_wheel_has_another_hash_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    other = tmp_path / "other"
    wheel(other, "1.0")
    file = next(other.iterdir())
    file.write_bytes(file.read_bytes() + b" ")
    shutil.rmtree(tmp_path / "index")
    done = checkout.run("bundle.load", str(in_a_bundle(tmp_path / "bundle.tar", file)))
    assert done.exit_code == 7
    assert "hash" in done.stderr.lower()


def test_a_truncated_bundle_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    bundle = in_a_bundle(tmp_path / "bundle.tar", *(tmp_path / "index").iterdir(), damage=True)
    done = checkout.run("bundle.load", str(bundle))
    assert done.exit_code in (2, 7), done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr
    assert checkout.environments() == []


def test_an_old_python_is_refused(checkout: Checkout) -> None:
    old_python(checkout)
    done = checkout.run(*ASK)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: threezone needs Python 3.11 or newer on PATH; here: Python 2.7.18\nfix: ")
    assert checkout.environments() == []


def test_a_newer_python_is_found_beside_an_old_one(checkout: Checkout) -> None:
    old_python(checkout)
    (checkout.bin / f"python3.{sys.version_info.minor}").symlink_to(PYTHON)
    assert checkout.run(*ASK).stdout.startswith("1.0 ")


def test_no_python_at_all(checkout: Checkout) -> None:
    (checkout.bin / "python3").unlink()
    done = checkout.run(*ASK)
    assert done.exit_code == 2
    assert "there is no python3" in done.stderr


def test_a_python_without_venv_gets_the_hint(pip_only: Checkout, tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError\n")  # Debian without the package python3-venv
    pip_only.env["PYTHONPATH"] = str(tmp_path)
    done = pip_only.run(*ASK)
    assert done.exit_code == 2
    assert "apt-get install -y python3-venv" in done.stderr


def test_a_cache_that_cannot_be_written(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    checkout.env["THREEZONE_CACHE"] = str(tmp_path / "file")
    done = checkout.run(*ASK)
    assert done.exit_code == 7
    assert "Traceback" not in done.stderr
    assert "THREEZONE_CACHE=" in done.stderr


def test_without_home_the_password_database_is_used(checkout: Checkout) -> None:
    del checkout.env["HOME"]
    show = checkout.bin / "show"
    script(show, 'echo "$HOME"')
    assert checkout.run(str(show)).stdout == f"{os.path.expanduser('~' + os.environ.get('USER', 'root'))}\n"  # noqa: PTH111


@pytest.mark.parametrize(("arguments", "exit_code"), [((), 2), (("--help",), 0), (("-h",), 0)])
def test_usage_is_printed_without_an_environment(
    checkout: Checkout, arguments: tuple[str, ...], exit_code: int
) -> None:
    (checkout.bin / "python3").unlink()
    done = checkout.run(*arguments)
    assert done.exit_code == exit_code, done.stderr
    text = done.stderr if exit_code else done.stdout
    assert {"./run TASK", "./run nox", "./run --list"} <= {found.strip() for found in re.findall(r"\./run [^ ]+", text)}
    assert (done.stdout == "") == bool(exit_code), "a mistake prints nothing for other programs to read"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("up", "--yes", "a b"), "task: up|--yes|a b"),
        (("--list",), "task: --list"),
        (("--help", "up"), "task: --help|up"),
        (("--debug", "up", "--help"), "task: --debug|up|--help"),
        (("on-path-only",), "task: on-path-only"),
        (("tiny-program", "up"), "program: up"),
        (("./program", "x"), "path: x"),
    ],
)
def test_a_word_is_a_program_of_the_environment_or_a_task(
    checkout: Checkout, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    """What else is on PATH never stands in for a task: some machines have a program that is called `up`."""
    package = checkout.root / "scripts" / "threezone"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text("import sys\nprint('task: ' + '|'.join(sys.argv[1:]))\n")
    (tmp_path / "threezone.py").write_text("raise SystemExit('a file of the current directory was imported')\n")
    assert checkout.run(*ASK).exit_code == 0
    [env] = checkout.environments()
    script(env / "bin" / "tiny-program", 'echo "program: $*"')
    script(tmp_path / "program", 'echo "path: $*"')
    for name in ("up", "on-path-only"):
        script(checkout.bin / name, 'echo "a program on PATH"')
    done = checkout.run(*arguments, cwd=tmp_path)
    assert (done.exit_code, done.stdout) == (0, f"{expected}\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "exit_code", "suggested"),
    [
        (["stauts"], 2, "./run status"),
        (["create"], 2, "./run cluster.create"),
        (["cluster"], 2, "./run --list cluster"),
        (["kubeconfig.conect"], 2, "./run kubeconfig.connect"),
        (["xyzzyxyzzy"], 2, "./run --list"),
        (["up", "--no-such-option"], 2, "--no-such-option"),
    ],
)
def test_an_unknown_word_gets_a_suggestion(words: list[str], exit_code: int, suggested: str) -> None:
    done = run([str(ROOT / "run"), *words], timeout=TIMEOUT, check=False, cwd=ROOT)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert words[-1] in done.stderr
    assert suggested in done.stderr
    assert "Traceback" not in done.stderr


def test_a_task_runs_as_with_invoke() -> None:
    """The same answer, but for the name of the program in the line of its use."""
    task, invoke = (
        run([str(ROOT / "run"), *words], timeout=TIMEOUT, cwd=ROOT).stdout.splitlines()
        for words in (["--help", "up"], ["invoke", "--help", "up"])
    )
    assert task[1:] == invoke[1:]
    assert task[0].startswith("Usage: ./run ")


@pytest.fixture
def intercepted(pip_only: Checkout, tmp_path: Path) -> Iterator[Checkout]:
    """A checkout whose index shows a certificate of an authority that pip does not know."""
    handler = functools.partial(Quiet, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are the point
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        index = {"PIP_FIND_LINKS": f"https://127.0.0.1:{server.server_address[1]}/", "PIP_RETRIES": "0"}
        pip_only.env.update(index)
        yield pip_only
        server.shutdown()
        thread.join()


def test_an_authority_that_the_system_trusts_is_enough_for_first_use(intercepted: Checkout) -> None:
    intercepted.env["SSL_CERT_FILE"] = str(CERTIFICATE)
    done = intercepted.run(*ASK)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("1.0")


def test_a_network_that_intercepts_tls_is_named_as_the_cause(intercepted: Checkout) -> None:
    done = intercepted.run(*ASK)
    assert done.exit_code == 7
    assert "intercept" in done.stderr
    assert "PIP_CERT" in done.stderr
