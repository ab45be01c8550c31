"""README and the pages in docs/ name only existing tasks, options, sessions, programs, files and headings."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nox
import noxfile
import pytest
from invoke.exceptions import ParseError
from tests.documents import PAGES, ROOT, SHELL, Code, anchors, asked, code, contexts, links, typed

CODE = [piece for page in PAGES for piece in code(page)]
NAMESPACES = {name.partition(".")[0] for name in contexts() if "." in name}
TOP = {path.name for path in ROOT.iterdir() if path.is_dir()}
NOT_OURS = {"--add-host=host.docker.internal:host-gateway": "docker", "--upgrade": "uv", "--upgrade-package": "uv"}
MADE = {
    "local/gitops/addons/ingress/crds": "addon.ingress writes it",
    "local/pins.toml": "a project's own",
    "local/invoke.schema.json": "init writes it",
    "local/requirements.txt": "init writes it",
    ".devcontainer/threezone/": "init writes it",
}


def ours(piece: Code) -> list[list[str]]:
    """The words behind every `./run`, and behind `threezone` where a line begins with it."""
    starts = (re.search(r"\./run .*|^threezone .*", line) for line in piece.text.splitlines())
    lines = (start[0].replace("…", "") for start in starts if start)
    return [words[1:] for line in lines for words in typed(line) if words[0] in ("./run", "threezone")]


RUN = [pytest.param(words, id=f"{piece.place}: {' '.join(words)}") for piece in CODE for words in ours(piece)]


def mistake(words: list[str]) -> str:
    """The error in a command behind `./run`; empty if there is none."""
    program, *rest = words if Path(sys.prefix, "bin", words[0]).exists() else ["invoke", *words]
    if program == "invoke":
        try:
            asked(rest)
        except (ParseError, ValueError) as error:
            return str(error)
    if program == "nox":
        sessions = [word for word in rest[: rest.index("--") if "--" in rest else None] if word != "-s"]
        return " ".join(name for name in sessions if name not in nox.registry.get())
    return ""


@pytest.mark.parametrize("words", RUN)
def test_commands_in_the_documentation_exist(words: list[str]) -> None:
    assert mistake(words) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        "invoke no-such-task", "invoke up --no-such-option", "invoke up --config", "invoke image.build",
        "invoke cluster.delete --name", "invoke cluster.create --workers many", "nox -s no-such-session", "no-program",
    ],
)  # fmt: skip
def test_a_wrong_command_is_detected(wrong: str) -> None:
    assert mistake(wrong.split()) != ""


def named(piece: Code) -> list[str]:
    """The words of inline code that begins with a task's name. `…` is a value, or nothing."""
    words = piece.text.split() if piece.language is None else []
    if words[-1:] == ["…"] and not words[-2].startswith("--"):
        words.pop()
    first = words[0] if words else ""
    is_task = first in contexts() or re.fullmatch(rf"({'|'.join(NAMESPACES)})\.[a-z-]+", first)
    return words if is_task else []


@pytest.mark.parametrize("piece", [pytest.param(p, id=f"{p.place}: {p.text}") for p in CODE if named(p)])
def test_tasks_in_the_text_have_these_options(piece: Code) -> None:
    words = named(piece)
    assert words[0] in contexts()
    if words[1:]:  # a name alone is no call
        assert asked(words)


def test_options_in_the_text_exist() -> None:
    known = {flag for context in contexts().values() for flag in context.flags} | {"--help", *NOT_OURS}
    alone = [p for p in CODE if p.language is None and p.text.startswith("--") and p.text.split()[0] != "--"]
    assert len(alone) > 20
    assert [f"{p.place}: {p.text}" for p in alone if p.text not in known and p.text.split()[0] not in known] == []


def test_every_link_has_a_target() -> None:
    broken = []
    for page in PAGES:
        for link in links(page):
            if re.match(r"https?://", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_every_page_is_linked_from_readme() -> None:
    reached, new = set(), {PAGES[0]}
    while new:
        reached |= new
        targets = {(page.parent / link.partition("#")[0]).resolve() for page in new for link in links(page)}
        new = (targets & set(PAGES)) - reached
    assert reached == set(PAGES)


def test_files_in_the_text_exist() -> None:
    paths = {p.text.partition("::")[0]: p.place for p in CODE if p.language is None and " " not in p.text}
    ours = {path: place for path, place in paths.items() if path.partition("/")[0] in TOP and "/" in path}
    tests = {path: place for path, place in paths.items() if re.fullmatch(r"test_\w+\.py", path)}
    assert len(ours) > 20
    assert [f"{place}: {path}" for path, place in ours.items() if path not in MADE and not (ROOT / path).exists()] == []
    assert [f"{place}: {path}" for path, place in tests.items() if not (ROOT / "tests/e2e" / path).exists()] == []


def test_every_block_has_a_language() -> None:
    assert {piece.language for piece in CODE if piece.language is not None} <= {SHELL, "text", "yaml", "toml", "python"}


assert noxfile.ROOT == ROOT  # it has been read: nox knows its sessions
