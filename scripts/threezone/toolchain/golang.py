"""Build programs from Go modules as their releases were built: with the module's own published go.mod and go.sum.

The build runs in a temporary module. Its go.mod is the published one without path replacements (the paths are not in
the module), plus a requirement on the module itself. Its go.sum is the published one plus our `modules.sum`: Go refuses
every module whose content differs, whoever serves it. For modules in neither file Go asks its checksum database.

Go's module and build caches are in the directory `go` of our cache.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Self

from threezone.core import events, network_ca, paths, process, versions
from threezone.core.errors import CommandFailed, ToolError
from threezone.toolchain import cache, go_errors
from threezone.toolchain.go_toolchain import FIRST_USABLE, Toolchain, toolchain

RECIPE = 1  # raise it when a change here makes earlier builds unusable
OWN_MODULE = "threezone.invalid/build"
DEADLINE = 3600.0  # seconds for one build on a slow machine
# The compiler collects no garbage before it has used this much memory: most packages end below it.
COMPILER_MEMORY = 2**30  # bytes for each of Go's processes, of which a build has one for each processor
# Builds at a time: while one of them links, fetches or looks into its cache, the other one compiles.
BUILDS = 2

ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Program:
    """One program of a Go module.

    `version` has its v, `package` is the import path of the main package, `name` the file to make. Symbols are always
    stripped. `replace` has pairs of module and `module@version` for modules that the published go.mod replaces by
    paths. `source` is a directory with a changed copy of the module. An empty `goos` or `goarch` means this machine.
    """

    module: str
    version: str
    package: str
    name: str
    ldflags: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    replace: tuple[tuple[str, str], ...] = ()
    source: Path | None = None
    goos: str = ""
    goarch: str = ""


def architecture() -> str:
    """The architecture of this machine as Go and container engines name it. Raises ToolError for unsupported ones."""
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        raise ToolError(
            f"there are no programs for the architecture {machine}", fix="use a machine with x86-64 or arm64"
        )
    return ARCHITECTURES[machine]


def build(program: Program) -> Path:
    """The path of `program`, built unless the cache has it. Raises ToolError or CommandFailed."""
    return build_together((program,))[0]


def build_together(programs: Sequence[Program]) -> list[Path]:
    """The paths of programs that differ in `package` and `name` only. One run of Go makes one cache entry of them."""
    common = {(p.module, p.version, p.ldflags, p.tags, p.replace, p.source, p.goos, p.goarch) for p in programs}
    if len(common) != 1:
        raise ValueError("programs that are built together share everything but package and name")
    home = cache.entry("built", _key(programs), lambda into: _build(programs, into))
    return [home / program.name for program in programs]


def built(*programs: Program) -> Path | None:
    """The directory of the cache entry with exactly these programs, or None."""
    return cache.lookup("built", _key(programs))


def module_source(module: str, version: str) -> Path:
    """The read-only directory of a module's published files, verified."""
    with tempfile.TemporaryDirectory(prefix="threezone-") as scratch:
        return Path(_download(toolchain(), module, version, Path(scratch))["Dir"])


def _key(programs: Sequence[Program]) -> str:
    """The cache key of these programs. It ignores Go's version: an upgrade of Go must not rebuild a working lab."""
    first = programs[0]
    return cache.key(
        first.name if len(programs) == 1 else f"{first.module.rsplit('/', 1)[-1]}-{len(programs)}",
        RECIPE,
        [first.module, first.version, first.ldflags, first.tags, first.replace, first.goos or sys.platform],
        [first.goarch or architecture(), sorted((p.package, p.name) for p in programs)],
        _digest(first.source) if first.source else "",
    )


def _digest(directory: Path) -> list[tuple[str, str]]:
    import hashlib

    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return [(str(path.relative_to(directory)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def environment(program: Program | None = None) -> dict[str, str | None]:
    """The changes to Go's environment: our cache, no C, no workspace, no other toolchain. Proxies stay the user's."""
    home = paths.cache_dir() / "go"
    changes: dict[str, str | None] = {
        "GOMODCACHE": str(home / "mod"),
        "GOCACHE": str(home / "build"),
        # -modcacherw: the module cache can be removed like other directories.
        "GOFLAGS": "-mod=mod -modcacherw -trimpath -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "CGO_ENABLED": "0",
    }
    changes |= dict.fromkeys(("GOBIN", "GOROOT", "GOEXPERIMENT", "GODEBUG", "GOOS", "GOARCH"))
    changes |= _garbage_collection()
    if program is not None:
        changes |= {"GOOS": program.goos or sys.platform, "GOARCH": program.goarch or architecture()}
    return changes


def _garbage_collection() -> dict[str, str]:
    """Less garbage collection in the compiler and the linker, where memory allows it; the user's own setting stays.

    Go collects when the heap has doubled (GOGC=100). With GOGC=off it collects only near GOMEMLIMIT
    (https://go.dev/doc/gc-guide). Measured: a tenth less processor time, 1 GB for the largest package.
    """
    import psutil

    if "GOGC" in os.environ or "GOMEMLIMIT" in os.environ:
        return {}
    wanted = BUILDS * COMPILER_MEMORY * (os.cpu_count() or 1)
    if min(psutil.virtual_memory().available, _container_limit()) < wanted:
        return {}
    return {"GOGC": "off", "GOMEMLIMIT": str(COMPILER_MEMORY)}


def _container_limit() -> float:
    """The bytes that this container may use (cgroup v2); infinity without a limit."""
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return float("inf")


def _pinned() -> str:
    return resources.files("threezone.toolchain").joinpath("modules.sum").read_text(encoding="utf-8")


def _download(go: Toolchain, module: str, version: str, scratch: Path) -> dict[str, str]:
    """The answer of `go mod download -json`; Go checks the content against our sums and its database."""
    (scratch / "go.mod").write_text(f"module {OWN_MODULE}\n")
    (scratch / "go.sum").write_text(_pinned())
    argv: list[str | Path] = [go.go, "mod", "download", "-json", f"{module}@{version}"]
    done = process.run(argv, timeout=900, cwd=scratch, env=environment(), check=False)
    try:
        answer: dict[str, str] = json.loads(done.stdout)
    except json.JSONDecodeError:
        answer = {"Error": done.stderr}
    if "Error" in answer or done.exit_code != 0:
        words = answer.get("Error", done.stderr).strip()
        fix = network_ca.advice(words, "check that the Go module proxy is reachable: " + process.paste(argv))
        raise ToolError(f"the Go module {module} {version} could not be fetched", evidence=words, fix=fix)
    return answer


def _build(programs: Sequence[Program], into: Path) -> None:
    first = programs[0]
    names = first.name if len(programs) == 1 else f"{len(programs)} programs of {first.module}"
    with (
        events.step(f"build {names} {first.version}") as step,
        tempfile.TemporaryDirectory(prefix="threezone-") as scratch,
    ):
        work = Path(scratch)
        go = _prepare(first, work)
        # Debugging information would be stripped anyway. Without it a build is a tenth faster.
        flags = [*_tags(first), "-gcflags=all=-dwarf=false", "-ldflags", " ".join(("-s", "-w", *first.ldflags))]
        target = into / "out"
        target.mkdir()
        with _Counter(step) as counter:
            counter.total = _fetch(go, programs, work, counter.line)
            run = functools.partial(process.run, timeout=DEADLINE, cwd=work, env=environment(first))
            hint = f"free space or memory may be short; Go's caches are in {paths.cache_dir() / 'go'}"
            packages = [program.package for program in programs]
            arguments = ["build", "-v", "-o", f"{target}{os.sep}", *flags, *packages]
            run([go.go, *arguments], hint=hint, on_line=counter.line)
        for program in programs:
            file = target / _file_name(program.package)
            if not file.is_file():
                raise CommandFailed([str(go.go), "build", program.package], 0, f"{file.name} is missing")
            file.rename(into / program.name)
        shutil.rmtree(target)
        (into / "go-version").write_text(go.version + "\n")
        size = sum((into / program.name).stat().st_size for program in programs)
        step.result = f"{size / 1e6:.0f} MB"


def fetch(programs: Sequence[Program]) -> None:
    """Fetch the modules that `programs` need, so that building them does not wait for the network.

    Raises ToolError or CommandFailed.
    """
    with tempfile.TemporaryDirectory(prefix="threezone-") as scratch:
        _fetch(_prepare(programs[0], Path(scratch)), programs, Path(scratch))


def _prepare(program: Program, work: Path) -> Toolchain:
    """Make the temporary module in `work`; the Go that can build it."""
    published = _download(toolchain(), program.module, program.version, work)
    text = Path(published["GoMod"]).read_text(encoding="utf-8")
    directive = re.search(r"^go\s+([\d.]+)", text, re.MULTILINE)
    go = toolchain(max(directive.group(1) if directive else "", FIRST_USABLE, key=versions.parse))
    _write_module(go, program, text, Path(published["Dir"]), work)
    return go


def _fetch(go: Toolchain, programs: Sequence[Program], work: Path, on_line: Callable[[str], None] | None = None) -> int:
    """Fetch every needed module; the number of packages to compile. Raises ToolError with the first missing one."""
    first, env = programs[0], environment(programs[0])
    argv: list[str | Path] = [go.go, "list", "-deps", *_tags(first), *(program.package for program in programs)]
    done = process.run(argv, timeout=DEADLINE, cwd=work, env=env, on_line=on_line, check=False)
    if done.exit_code != 0:
        raise go_errors.not_fetched(first.name, first.version, done.stderr)
    return len(done.stdout.splitlines())


def _tags(program: Program) -> list[str]:
    return ["-tags", ",".join(program.tags)] if program.tags else []


def _file_name(package: str) -> str:
    """The name that `go build` gives a package's program: the last element, or the one before a major version."""
    parts = package.split("/")
    return parts[-2] if len(parts) > 1 and re.fullmatch(r"v[2-9]\d*", parts[-1]) else parts[-1]


def _write_module(go: Toolchain, program: Program, published: str, directory: Path, work: Path) -> None:
    """Write the files of the temporary module into `work`."""
    (work / "go.mod").write_text(published, encoding="utf-8")
    sums = directory / "go.sum"
    (work / "go.sum").write_text(_pinned() + (sums.read_text(encoding="utf-8") if sums.is_file() else ""))
    (work / "tools.go").write_text("package build\n")
    parsed = json.loads(process.run([go.go, "mod", "edit", "-json"], timeout=60, cwd=work, env=environment()).stdout)
    edits = [f"-module={OWN_MODULE}", f"-require={program.module}@{program.version}", "-toolchain=none"]
    for replacement in parsed.get("Replace") or ():
        if "Version" not in replacement["New"]:  # a path
            old = replacement["Old"]
            edits.append(f"-dropreplace={old['Path']}" + (f"@{old['Version']}" if "Version" in old else ""))
    edits += [f"-replace={old}={new}" for old, new in program.replace]
    edits += [f"-droptool={tool['Path']}" for tool in parsed.get("Tool") or ()]
    if program.source is not None:
        edits.append(f"-replace={program.module}={program.source}")
    process.run([go.go, "mod", "edit", *edits], timeout=60, cwd=work, env=environment())


class _Counter:
    """Report every 15 seconds how far Go is: it prints a line for every fetched module and compiled package."""

    def __init__(self, step: events.Progress) -> None:
        self.step, self.total, self.fetched, self.compiled = step, 0, 0, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)

    def line(self, text: str) -> None:
        if text.startswith("go: downloading "):
            self.fetched += 1
        elif self.total and " " not in text:
            self.compiled += 1

    def _report(self) -> None:
        while not self._ended.wait(15.0):
            compiled = f"compiled {self.compiled} of at most {self.total} packages"
            state = compiled if self.total else f"fetched {self.fetched} modules"
            self.step.say(f"{state}, {time.strftime('%M:%S', time.gmtime(self.step.seconds))}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
