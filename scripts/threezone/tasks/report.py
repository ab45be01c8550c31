"""report.*: what a proof left behind, drawn for people and for CI."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.runtime import say, table, task


@task(
    help={
        "file": "the JSON that gitops.prove wrote",
        "html": "write the page with the timeline to this file",
        "junit": "write JUnit XML, as GitLab and Jenkins read it, to this file",
        "open": "open the page (without --html: beside FILE, named alike)",
    }
)
def show(c: Context, file: str, html: str = "", junit: str = "", open_: bool = False) -> None:
    """Show the report of a proof: its figures here, as a page (--html) or as JUnit XML (--junit).

    The page is one file that loads nothing: keep it, attach it, print it.
    """
    from pathlib import Path

    from threezone.core.errors import UsageError
    from threezone.core.files import is_stream
    from threezone.extras.report import files, page, proof
    from threezone.extras.report import junit as xml

    source = Path(file)
    data = files.load(source)
    seen = proof.read(data)
    rows = [["PHASE", "RESULT", *(name.upper() for name in proof.STAGES), "TOTAL", "REVISION"]]
    for phase in seen.all_phases:
        figures = [*(seconds for _, seconds in phase.seconds.stages()), phase.seconds.total]
        rows.append([phase.name, phase.state, *map(_figure, figures), phase.revision or "-"])
    say(table(rows), html, junit)
    for phase in seen.phases:
        if phase.ok is False:
            say("\n".join([f"{phase.name}: {phase.why or proof.NO_REASON}", *_indented(phase.evidence)]), html, junit)
    verdict = "passed" if seen.ok else "failed"
    say(f"{verdict} in {seen.seconds:.2f} s on {seen.cluster}, {seen.when:%Y-%m-%d %H:%M:%S} UTC", html, junit)
    drawn = Path(html) if html else source.with_suffix(".html")
    if open_ and not html and is_stream(source):
        raise UsageError(f"{file} is no regular file: no page can stand beside it", fix="name the page with --html")
    if html or open_:
        files.save(drawn, page.page(data))
        say(f"page: {drawn}", html, junit)
    if junit:
        files.save(Path(junit), xml.junit(data))
        say(f"JUnit: {junit}", html, junit)
    if open_:
        files.show(drawn)


def _figure(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"


def _indented(evidence: str | None) -> list[str]:
    return [f"  | {line}" for line in (evidence or "").splitlines()]
