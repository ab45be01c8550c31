"""report.*: the report of a proof or of any run, drawn for people and for CI."""

from pathlib import Path
from typing import Annotated

from threezone.tasks.display import table
from threezone.tasks.options import Json
from threezone.tasks.runtime import present, say, task


@task
def show(
    file: Annotated[str, "the JSON that gitops.prove wrote; or the id of a run (report.list), or last"],
    html: Annotated[str, "write the page with the timeline to this file"] = "",
    junit: Annotated[str, "write JUnit XML of a proof, as GitLab and Jenkins read it, to this file"] = "",
    trace: Annotated[str, "write a trace of a run to this file, for https://ui.perfetto.dev"] = "",
    open_: Annotated[bool, "open the page (without --html: beside FILE, or below the state directory)"] = False,
) -> None:
    """Show what happened: a proof, or any run of a task; on the terminal, or as a page (--html).

    The page is one file that loads nothing: keep it, attach it, print it.
    """
    from threezone.core import run_record

    is_run = not Path(file).exists() and (file == "last" or file in run_record.ids())
    if trace and not is_run:
        from threezone.core.errors import UsageError

        raise UsageError("--trace is for a run, not for a proof", fix="./run invoke report.show last --trace FILE")
    if is_run:
        _show_run(file, html, trace, opened=open_)
    else:
        _show_proof(file, html, junit, opened=open_)


@task
def list_(json: Json = False) -> None:
    """List the last runs of tasks, the newest first: their ids, how long they took, and how they ended."""
    from threezone.core import run_record

    runs = [run_record.load(name) for name in run_record.ids()]
    data = [
        {"id": run.id, "task": run.task, "began": run.began, "seconds": run.seconds, "outcome": run.outcome}
        | {"exit_code": run.exit_code, "steps": len(run.steps)}
        for run in runs
    ]
    rows = [[run.id, run.began, f"{run.seconds:.1f} s", run.outcome, run.error or "-"] for run in runs]
    present(data, table([["RUN", "BEGAN", "TIME", "OUTCOME", "ERROR"], *rows]), as_json=json)


def _show_run(name: str, html: str, trace: str, *, opened: bool) -> None:
    from threezone.core import run_record
    from threezone.extras.report import files, run_page

    run = run_record.load(name)
    rows = [["AT", "TIME", "RESULT", "STEP"]]
    for step in run.steps:
        text = f"{step.title}: {step.text}" if step.text else step.title
        rows.append([f"{step.began:.1f} s", f"{step.seconds:.1f} s", step.outcome, text])
    lines = [table(rows), *([f"error: {run.error}"] if run.error else [])]
    lines.append(f"{run.task} {run.outcome} in {run.seconds:.1f} s, {run.began}: {run.id}")
    say("\n".join(lines), html, trace)
    target = Path(html) if html else run_record.directory() / f"{run.id}.html"
    if html or opened:
        files.save(target, run_page.draw(run))
        say(f"page: {target}", html, trace)
    if trace:
        files.save(Path(trace), run_page.trace(run))
        say(f"trace: {trace}", html, trace)
    if opened:
        files.show(target)


def _show_proof(file: str, html: str, junit: str, *, opened: bool) -> None:
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
    if opened and not html and is_stream(source):
        raise UsageError(
            f"{file} is not a regular file: the page cannot be written beside it", fix="name the page with --html"
        )
    if html or opened:
        files.save(target, page.page(data))
        say(f"page: {target}", html, junit)
    if junit:
        files.save(Path(junit), xml.junit(data))
        say(f"JUnit: {junit}", html, junit)
    if opened:
        files.show(target)
