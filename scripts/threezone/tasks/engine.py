"""engine.*: zone 2, the container engine: find it, prove it, start it."""

from dataclasses import asdict
from typing import Annotated

from threezone.tasks.options import DryRun, Json, Yes
from threezone.tasks.runtime import agreed, emit, say, task


@task
def check(json: Json = False) -> None:
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


@task
def start(yes: Yes = False, dry_run: DryRun = False) -> None:
    """Make the container engine work: install it (Debian, Ubuntu; as root), adapt, start and prove it."""
    from threezone.engine.find import require
    from threezone.engine.repair import apply, diagnose

    engine, steps = diagnose()
    if not (steps or dry_run):
        require(engine)
        say(f"engine {engine.version} works; nothing to do")
    elif agreed(steps, yes=yes, dry_run=dry_run):
        say(f"engine {apply(steps).version} works: a privileged container starts")


@task
def stop(restore: Annotated[bool, "also remove the runtime wrapper from the engine's settings"] = False) -> None:
    """Stop the engine that engine.start started; --restore also removes the runtime wrapper."""
    from threezone.engine import repair

    stopped = repair.stop()
    unwrapped = restore and repair.unwrap()
    say("engine stopped" if stopped else "no engine of ours runs here")
    if unwrapped:
        say("the runtime wrapper is removed")
