"""README and the pages in docs/ as data: code, links, and the tasks that their commands run.

Nothing is executed: invoke's own parser reads the commands, with our tasks.
"""

from __future__ import annotations

import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from invoke import Program
from invoke.exceptions import ParseError
from invoke.parser import Parser, ParserContext
from markdown_it import MarkdownIt  # rich brings it
from markdown_it.token import Token

from threezone.tasks import collection

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SHELL = "console"  # a block of commands that a reader can type


@dataclass(frozen=True)
class Code:
    """A block of code or inline code, and the prose around a block up to the next block or heading."""

    page: Path
    line: int  # of the block, or of the paragraph or table row that it stands in
    text: str
    language: str | None  # of a block; None for an inline piece
    beside: str = ""  # the prose before and behind a block, its words one space apart

    @property
    def place(self) -> str:
        """Its page and line, for the report of a failure."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


Asked = list[tuple[str, dict[str, str]]]  # every task that is asked for, with the arguments that it is given


@functools.cache
def tokens(page: Path) -> list[Token]:
    """The page as CommonMark with GitHub's tables."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def code(page: Path) -> list[Code]:
    """Every piece of code of a page, in its order."""
    found = []
    every = tokens(page)
    for at, token in enumerate(every):
        line = token.map[0] + 1 if token.map else 0
        if token.type in ("fence", "code_block"):
            found.append(Code(page, line, token.content, token.info.strip(), _beside(every, at)))
        inline = (child for child in token.children or () if child.type == "code_inline")
        found.extend(Code(page, line, child.content, None) for child in inline)
    return found


def _beside(every: list[Token], at: int) -> str:
    """The prose around a block."""
    ends = ("fence", "code_block", "heading_close")

    def until(steps: range) -> list[str]:
        said = []
        for step in steps:
            if every[step].type in ends:
                break
            said.append(every[step].content)
        return said

    return " ".join(" ".join([*reversed(until(range(at - 1, -1, -1))), *until(range(at + 1, len(every)))]).split())


def links(page: Path) -> list[str]:
    """The targets of the page's links."""
    children = (child for token in tokens(page) for child in token.children or ())
    return [str(child.attrs["href"]) for child in children if child.type == "link_open"]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    every = tokens(page)
    titles = [every[at + 1].content for at, token in enumerate(every) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def typed(text: str) -> list[list[str]]:
    """The commands of a shell block, without comments. Commands joined by `&&` are separate."""
    found = []
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "&&"]:
            if set(word) <= set("&;"):
                found.append(words)
                words = []
            else:
                words.append(word)
    return [words for words in found if words]


@functools.cache
def contexts() -> dict[str, ParserContext]:
    """The tasks by their names, as invoke's parser knows them."""
    return {str(context.name): context for context in collection().to_contexts()}


def asked(words: list[str]) -> Asked:
    """The tasks and options in these words, which follow `./run invoke`. Raises ParseError or ValueError."""
    named = [context for name, context in contexts().items() if name in words]  # it copies what it is given
    parsed = Parser(initial=Program().initial_context, contexts=named).parse_argv(words)
    if parsed.unparsed:
        raise ParseError(f"left over: {parsed.unparsed}")
    last = parsed[-1].flags.get(words[-1]) if words else None
    if last is not None and last.takes_value and not last.optional:  # invoke forgives that of a repeatable option
        raise ParseError(f"{words[-1]} needs a value")
    given = [(str(each.name), {name: arg for name, arg in each.args.items() if arg.got_value}) for each in parsed[1:]]
    return [(task, {name.replace("_", "-"): str(arg.value) for name, arg in args.items()}) for task, args in given]
