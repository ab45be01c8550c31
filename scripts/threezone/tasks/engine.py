"""engine.*: zone 2, the container engine: find it, prove it, start it."""

from __future__ import annotations

from dataclasses import asdict

from invoke import Context

from threezone.tasks.runtime import consent, emit, say, task


@task(help={"json": "print the observation as JSON"})
def check(c: Context, json: bool = False) -> None:
    """Find the container engine and prove it by starting a privileged container; say what is wrong."""
    from threezone.engine.find import require
    from threezone.engine.repair import diagnose

    engine, _ = diagnose()
    if json:
        emit(asdict(engine))
    require(engine)
    if not json:
        say(
            f"engine {engine.version} at {engine.endpoint}: {engine.system}, {engine.architecture}, "
            f"cgroup v{engine.cgroup}, runtime {engine.runtime}; a privileged container starts"
        )


@task(help={"yes": "answer yes to installing packages and starting the engine", "dry-run": "print the plan only"})
def start(c: Context, yes: bool = False, dry_run: bool = False) -> None:
    """Make a container engine work: install (Debian, Ubuntu; root), adapt to a bounded machine, start, prove."""
    from threezone.core.plan import describe
    from threezone.engine.find import require
    from threezone.engine.repair import apply, diagnose

    engine, actions = diagnose()
    if dry_run:
        say(describe(actions))
        return
    if not actions:
        require(engine)
        say(f"engine {engine.version} works; nothing to do")
        return
    consent(actions, yes=yes)
    say(f"engine {apply(actions).version} works: a privileged container starts")


@task(help={"restore": "also remove the runtime wrapper from the engine's settings"})
def stop(c: Context, restore: bool = False) -> None:
    """Stop the engine that engine.start started; --restore also undoes the runtime wrapper."""
    from threezone.engine import repair

    stopped = repair.stop()
    undone = repair.unwrap() if restore else False
    say("engine stopped" if stopped else "no engine of ours runs here")
    if undone:
        say("the runtime wrapper is removed")
