"""Real builds by the real Go of modules from a module proxy in a directory."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from threezone.core import paths
from threezone.core.errors import ThreezoneError
from threezone.toolchain import golang
from threezone.toolchain.golang import Program

PROGRAM = Program(module="example.test/m", version="v1.0.0", package="example.test/m/cmd/greet", name="greet")

# `api` is replaced by a path that the published module does not contain, as Flux's controllers do it.
MAIN = {
    "go.mod": """module example.test/m
go 1.21
require (
\texample.test/m/api v0.1.0
\texample.test/dep v1.0.0
)
replace example.test/m/api => ./api
""",
    "cmd/greet/main.go": """package main

import (
\t"fmt"

\t"example.test/dep"
\t"example.test/m/api"
)

var version = "unknown"

func main() { fmt.Println(version, api.Word, dep.Word) }
""",
}


def library(path: str, word: str) -> dict[str, str]:
    name = path.rsplit("/", 1)[-1]
    return {"go.mod": f"module {path}\ngo 1.21\n", f"{name}.go": f'package {name}\n\nconst Word = "{word}"\n'}


@dataclass(frozen=True)
class Proxy:
    """A module proxy as a directory, which Go reads by a file: address."""

    root: Path

    def publish(self, path: str, version: str, files: dict[str, str]) -> str:
        """Publish a module; returns its line of go.sum (the h1 hash of golang.org/x/mod/sumdb/dirhash)."""
        place = self.root / path / "@v"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{version}.info").write_text(f'{{"Version": "{version}"}}')
        (place / f"{version}.mod").write_text(files["go.mod"])
        named = {f"{path}@{version}/{name}": text for name, text in files.items()}
        with zipfile.ZipFile(place / f"{version}.zip", "w") as archive:
            for name, text in named.items():
                archive.writestr(name, text)
        return f"{path} {version} {h1(named)}\n{path} {version}/go.mod {h1({'go.mod': files['go.mod']})}\n"


def h1(files: dict[str, str]) -> str:
    lines = "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in sorted(files.items()))
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """A proxy with the program's module and what it needs; a cache of its own that shares the user's Go."""
    real, cache = paths.cache_dir(), tmp_path / "cache"
    (cache / "go").mkdir(parents=True)
    for shared in ("go-toolchain", "go/build"):  # compiling Go's own library anew would take most of the time
        (real / shared).mkdir(parents=True, exist_ok=True)
        (cache / shared).symlink_to(real / shared)
    monkeypatch.setenv("THREEZONE_CACHE", str(cache))
    monkeypatch.setenv("GOPROXY", f"file://{tmp_path}/proxy")
    monkeypatch.setenv("GOSUMDB", "off")
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")  # a user's habit that must not matter
    made = Proxy(tmp_path / "proxy")
    made.publish("example.test/m/api", "v0.1.0", library("example.test/m/api", "hello"))
    sums = made.publish("example.test/dep", "v1.0.0", library("example.test/dep", "world"))
    made.publish("example.test/m", "v1.0.0", {**MAIN, "go.sum": sums})
    return made


def run(program: Path) -> str:
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.strip()


def test_a_program_is_built_from_its_published_module(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    program = golang.build(replace(PROGRAM, ldflags=("-X main.version=v1",)))
    assert run(program) == "v1 hello world"
    assert program.is_relative_to(paths.cache_dir())
    monkeypatch.setenv("PATH", "/nonexistent")
    assert golang.build(replace(PROGRAM, ldflags=("-X main.version=v1",))) == program, "found again without any Go"


def test_a_changed_copy_of_the_module_is_built_with_the_published_pins(proxy: Proxy, tmp_path: Path) -> None:  # noqa: ARG001
    copy = tmp_path / "copy"
    published = golang.module_source("example.test/m", "v1.0.0")
    (copy / "cmd/greet").mkdir(parents=True)
    (copy / "go.mod").write_text((published / "go.mod").read_text())
    (copy / "cmd/greet/main.go").write_text(MAIN["cmd/greet/main.go"].replace("unknown", "changed"))
    assert run(golang.build(replace(PROGRAM, source=copy))) == "changed hello world"


def test_programs_of_one_module_are_built_together(proxy: Proxy) -> None:
    other = {"cmd/shout/main.go": 'package main\n\nfunc main() { println("!") }\n'}
    sums = proxy.publish("example.test/dep", "v1.0.0", library("example.test/dep", "w"))
    proxy.publish("example.test/m", "v1.1.0", {**MAIN, **other, "go.sum": sums})
    both = [replace(PROGRAM, version="v1.1.0", package=f"example.test/m/cmd/{n}", name=n) for n in ("greet", "shout")]
    greet, shout = golang.build_together(both)
    assert greet.parent == shout.parent
    assert run(greet) == "unknown hello w"


def test_a_dependency_that_differs_from_the_published_sum_is_refused(proxy: Proxy) -> None:
    proxy.publish("example.test/dep", "v1.0.0", library("example.test/dep", "evil"))
    with pytest.raises(ThreezoneError) as caught:
        golang.build(PROGRAM)
    assert "checksum mismatch" in caught.value.evidence
    assert golang.built(PROGRAM) is None
    assert [path for path in (paths.cache_dir() / "built").iterdir() if path.is_dir()] == []


def test_a_module_that_differs_from_our_own_pin_is_refused(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    wrong = "h1:" + base64.b64encode(b"0" * 32).decode()
    monkeypatch.setattr(golang, "_pinned", lambda: f"example.test/m v1.0.0 {wrong}\n")
    with pytest.raises(ThreezoneError) as caught:
        golang.build(PROGRAM)
    assert "checksum mismatch" in caught.value.evidence
    assert golang.built(PROGRAM) is None


def test_what_does_not_compile_is_told_in_the_words_of_go(proxy: Proxy) -> None:
    broken = {**MAIN, "cmd/greet/main.go": "package main\n\nfunc main() { undefined() }\n", "go.sum": ""}
    proxy.publish("example.test/m", "v1.2.0", broken)
    with pytest.raises(ThreezoneError) as caught:
        golang.build(replace(PROGRAM, version="v1.2.0"))
    assert "undefined: undefined" in caught.value.evidence


def test_an_unknown_version_is_told_with_the_command_that_asks_for_it(proxy: Proxy) -> None:  # noqa: ARG001
    with pytest.raises(ThreezoneError, match=r"example\.test/m v9\.9\.9 could not be fetched") as caught:
        golang.build(replace(PROGRAM, version="v9.9.9"))
    assert "go mod download" in caught.value.fix


def test_the_module_cache_can_be_removed_like_any_directory(proxy: Proxy) -> None:  # noqa: ARG001
    golang.module_source("example.test/m", "v1.0.0")
    modules = paths.cache_dir() / "go" / "mod"
    locked = [path for path in modules.rglob("*") if path.is_dir() and not path.stat().st_mode & 0o200]
    assert locked == []
    assert os.access(modules, os.W_OK)
