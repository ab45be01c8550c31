"""app.*: the sample workload."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.edge import say, task
from threezone.tasks.lab import NAME, session


@task(
    name="open",
    help={
        "name": NAME,
        "port": "port on 127.0.0.1 to open the app on; 0 lets the system choose",
        "once": "print what the app answers and return",
    },
)
def open_(c: Context, name: str = "", port: int = 0, once: bool = False) -> None:
    """Open the sample app on a loopback port until Ctrl-C; --once prints its answer and returns."""
    from threezone.lab import steps

    at = session(name)
    say(steps.answer(at))
    if not once:
        steps.open_app(at, port, lambda address: say(f"http://{address}/ until Ctrl-C"))
