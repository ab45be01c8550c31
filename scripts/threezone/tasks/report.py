"""report.*: the report of a proof, drawn for people and for CI."""

from pathlib import Path
from typing import Annotated

from threezone.tasks.display import table
from threezone.tasks.runtime import say, task


@task
def show(
    file: Annotated[str, "the JSON that gitops.prove wrote"],
    html: Annotated[str, "write the page with the timeline to this file"] = "",
    junit: Annotated[str, "write JUnit XML, as GitLab and Jenkins read it, to this file"] = "",
    open_: Annotated[bool, "open the page (without --html: beside FILE, with the same name)"] = False,
) -> None:
    """Show the report of a proof: on the terminal, as a page (--html) or as JUnit XML (--junit).

    The page is one file that loads nothing: keep it, attach it, print it.
    """
    from threezone.core.errors import UsageError
    from threezone.core.files import is_stream
    from threezone.extras.report import files, page, proof
    from threezone.extras.report import junit as xml

    source = Path(file)
    data = files.load(source)
    report = proof.read(data)
    rows = [["PHASE", "RESULT", *(name.upper() for name in proof.STAGES), "TOTAL", "REVISION"]]
    for phase in report.all_phases:
        figures = [*(seconds for _, seconds in phase.seconds.stages()), phase.seconds.total]
        cells = ("-" if seconds is None else f"{seconds:.2f}" for seconds in figures)
        rows.append([phase.name, phase.state, *cells, phase.revision or "-"])
    lines = [table(rows)]
    for phase in report.phases:
        if phase.ok is False:
            lines.append(f"{phase.name}: {phase.why or proof.NO_REASON}")
            lines += [f"  | {line}" for line in (phase.evidence or "").splitlines()]
    verdict = "passed" if report.ok else "failed"
    lines.append(f"{verdict} in {report.seconds:.2f} s on {report.cluster}, {report.when:%Y-%m-%d %H:%M:%S} UTC")
    say("\n".join(lines), html, junit)
    target = Path(html) if html else source.with_suffix(".html")
    if open_ and not html and is_stream(source):
        raise UsageError(
            f"{file} is not a regular file: the page cannot be written beside it", fix="name the page with --html"
        )
    if html or open_:
        files.save(target, page.page(data))
        say(f"page: {target}", html, junit)
    if junit:
        files.save(Path(junit), xml.junit(data))
        say(f"JUnit: {junit}", html, junit)
    if open_:
        files.show(target)
