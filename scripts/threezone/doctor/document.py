"""The catalogue for people: the page of one row, the row of a pasted message, and docs/doctor.md.

`./run python -m threezone.doctor.document` prints docs/doctor.md.
"""

from __future__ import annotations

import difflib
import re
import sys
import textwrap

from threezone.core.errors import UsageError
from threezone.doctor.catalogue import BY_ID, ROWS, recognise
from threezone.doctor.row import Row

WIDTH = 100
DOCUMENT = "docs/doctor.md"
_ZONES = {
    "engine": "Zone 2: the container engine and its machine",
    "cluster": "Zone 3: the cluster",
    "route": "The route to the API server",
    "delivery": "Flux and the delivery",
    "project": "Your files",
    "tools": "Programs",
}
_HEAD = """\
# doctor: from a symptom to its cause and fix

<!-- Written by `./run python -m threezone.doctor.document > docs/doctor.md`; a test compares it with the catalogue. -->

```console
./run invoke doctor
./run invoke doctor --fix
./run invoke doctor --json
./run invoke doctor --explain dns-down
./run invoke doctor --explain "could not find a log line that matches"
```

`doctor` looks at everything at once: the engine and its machine, the nodes, the kubeconfig, the route, the API
server, Flux, the Git server, the repository. It is read-only. It names the cause first and folds what follows from it
below. A healthy lab is one line and exit code 0; otherwise the [exit code](exit-codes.md) is that of the cause's
zone. Each probe has a deadline of {seconds:.0f} seconds: one without an answer is named and holds up nothing else.

`--fix` carries out what the causes below call *safe*, asks before what *asks* (`--yes` answers), and looks again.
Everything else is *by hand*: the command is printed and not run. A *risk* does not stop a lab by itself; it is a
notice, and a cause only where it explains a fault. `--explain` takes an id, or any error message: it prints the row
whose words are in it. Errors of other tasks end with the id of their row, where there is one. `--context` looks at a
cluster that is not kind's.

`--json` has the keys `context`, `healthy`, `exitCode`, `causes`, `risks`, `notAnswered` (probes without an answer),
`failed` (probes with an error) and `seconds`. A cause has `id`, `zone`, `summary`, `cause`, `evidence` (lines),
`fix`, `safety`, `steps` (what `--fix` does), `source` and `consequences`, which are findings like it.

The catalogue has {count} rows. It is in `scripts/threezone/doctor/catalogue`.
"""


def explain(asked: str) -> str:
    """The page of the row with this id, or of the row whose words are in this message. Raises UsageError."""
    if row := BY_ID.get(asked.strip()) or recognise(asked):
        return page(row)
    near = difflib.get_close_matches(asked.strip(), BY_ID, 3)
    fix = " or ".join(f"./run invoke doctor --explain {each}" for each in near) or f"the ids are in {DOCUMENT}"
    raise UsageError(f"no row of the catalogue has this id, or words of this message: {asked[:80]!r}", fix=fix)


def page(row: Row) -> str:
    """One row as a page of text."""
    parts = [
        ("symptom", row.symptom), ("cause", row.cause),
        ("detected", row.seen or "only by the words of a message"), ("fix", f"{row.fix} ({row.safety})"),
        ("because of", ", ".join(row.because_of)), ("explains", ", ".join(explained(row))), ("source", source(row)),
    ]  # fmt: skip
    risk = ", a risk" if row.risk else ""
    lines = [f"{row.id} ({_ZONES[row.zone]}{risk})", row.title]
    for name, words in parts:
        if words:
            lines.append(textwrap.fill(words, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=" " * 12,
                                       break_long_words=False, break_on_hyphens=False))  # fmt: skip
    return "\n".join(lines)


def explained(row: Row) -> list[str]:
    """The ids of the rows that this one can explain."""
    return [other.id for other in ROWS if row.id in other.because_of]


def source(row: Row) -> str:
    """Where the fact is from, as an address; an issue is REPOSITORY#NUMBER."""
    repositories = {
        "kind": "kubernetes-sigs/kind",
        "flux2": "fluxcd/flux2",
        "kustomize-controller": "fluxcd/kustomize-controller",
    }
    name, _, number = row.source.partition("#")
    return f"https://github.com/{repositories[name]}/issues/{number}" if name in repositories else row.source


def document() -> str:
    """docs/doctor.md."""
    from threezone.doctor.observe import SECONDS

    parts = [_HEAD.format(count=len(ROWS), seconds=SECONDS)]
    for zone, title in _ZONES.items():
        parts.append(f"\n## {title}\n")
        parts += [_section(row) for row in ROWS if row.zone == zone]
    return "".join(parts)


def _section(row: Row) -> str:
    risk = " (a risk)" if row.risk else ""
    link = f"[{row.source}]({source(row)})" if "#" in row.source and "/" not in row.source else f"{row.source}"
    link = f"`{link}`" if link.startswith("./run") else link
    link = f"[{link}]({link.removeprefix('docs/')})" if link.startswith("docs/") else link
    lines = [
        f"\n### {row.id}\n\n{row.title[0].upper()}{row.title[1:]}{risk}.\n",
        f"- **symptom**: {_code(row.symptom)}",
        f"- **cause**: {_plain(row.cause)}",
        f"- **detected**: {_plain(row.seen or 'only by the words of a message')}",
        f"- **fix** ({row.safety}): {_plain(row.fix)}",
    ]
    lines += [f"- **because of**: {', '.join(row.because_of)}"] if row.because_of else []
    return "\n".join([*lines, f"- **source**: {link}\n"])


def _code(words: str) -> str:
    """The words verbatim, as inline code that may hold backticks."""
    return f"`` {words} ``" if "`" in words else f"`{words}`"


def _plain(words: str) -> str:
    """Prose in Markdown: what looks like HTML or emphasis stays text, except in inline code."""
    parts = words.split("`")
    parts[::2] = [re.sub(r"([*_|\[\]])", r"\\\1", part.replace("<", "&lt;")) for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    sys.stdout.write(document())
