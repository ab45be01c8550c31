"""Speed of our tasks compared with the plain commands, as ratios of one run: `./run nox -s bench`.

The exit code is non-zero only if a command fails, or with --compare: speed is no test, because other work on the
machine changes it. The
clusters have their own names, ports, kubeconfig and state, and are removed afterwards.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from tests.bench.checking import checking
from tests.bench.devcontainer import opening
from tests.bench.lab import creating, delivering, fresh, repeating
from tests.bench.programs import choosing, listing, rewriting
from tests.bench.project import benched
from tests.bench.releasing import releasing
from tests.bench.rows import Row, compared, markdown

from threezone.core import events, process
from threezone.core.errors import ThreezoneError
from threezone.tasks.display import display

ROWS = ("list", "kubeconfig", "chooser", "create", "up", "deliver", "check", "release", "fresh", "devcontainer")


def main() -> int:
    """Measure the chosen rows and print them."""
    # As for a user, Python keeps compiled modules. Some build machines switch that off.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    parser = argparse.ArgumentParser(prog="./run nox -s bench --", description=__doc__)
    parser.add_argument("--only", choices=ROWS, action="append", help="measure only this")
    parser.add_argument("--list-runs", type=int, default=15, metavar="N")
    parser.add_argument("--kubeconfig-runs", type=int, default=11, metavar="N")
    parser.add_argument("--chooser-runs", type=int, default=60, metavar="N")
    parser.add_argument("--create-runs", type=int, default=3, metavar="N")
    parser.add_argument("--up-runs", type=int, default=7, metavar="N")
    parser.add_argument("--deliver-runs", type=int, default=5, metavar="N")
    parser.add_argument("--check-runs", type=int, default=7, metavar="N")
    parser.add_argument("--release-runs", type=int, default=5, metavar="N")
    parser.add_argument("--fresh-runs", type=int, default=3, metavar="N")
    parser.add_argument("--devcontainer-runs", type=int, default=3, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write every measurement, commit and machine; -: print")
    parser.add_argument("--compare", metavar="FILE", help="an earlier FILE; fails where a ratio is 15 %% worse")
    asked = parser.parse_args()
    only = asked.only or ROWS
    rows: list[Row] = []
    try:
        with display():
            if "list" in only:
                rows += listing(asked.list_runs)
            if "kubeconfig" in only:
                rows += rewriting(asked.kubeconfig_runs)
            if "chooser" in only:
                try:
                    rows += choosing(asked.chooser_runs)
                except ThreezoneError as error:
                    if asked.only or error.evidence:
                        raise
                    events.note(error.message)  # a machine that cannot measure this row still measures the others
            if {"create", "up", "deliver", "check", "release", "fresh", "devcontainer"} & set(only):
                with benched() as bench:
                    rows += creating(bench, asked.create_runs) if "create" in only else []
                    rows += repeating(bench, asked.up_runs) if "up" in only else []
                    rows += delivering(bench, asked.deliver_runs) if "deliver" in only else []
                    rows += checking(bench, asked.check_runs) if "check" in only else []
                    rows += releasing(bench, asked.release_runs) if "release" in only else []
                    rows += fresh(bench, asked.fresh_runs) if "fresh" in only else []
                    rows += opening(bench, asked.devcontainer_runs) if "devcontainer" in only else []
    except ThreezoneError as error:
        sys.stderr.write(f"error: {error.message}\n{error.evidence}\n")
        return error.exit_code
    measured = json.dumps({**facts(), "rows": [row.data() for row in rows]}, indent=2) + "\n"
    if asked.json and asked.json != "-":
        Path(asked.json).write_text(measured, encoding="utf-8")
    sys.stdout.write(measured if asked.json == "-" else markdown(rows) + "\n")
    if not asked.compare:
        return 0
    changes, worse = compared(rows, json.loads(Path(asked.compare).read_text(encoding="utf-8")))
    sys.stdout.write(f"\n{changes}\n")
    return 1 if worse else 0


def facts() -> dict[str, object]:
    """Where and of which commit the figures are."""
    head = process.run(["git", "rev-parse", "HEAD"], timeout=30, check=False).stdout.strip()
    changed = process.run(["git", "status", "--porcelain"], timeout=30, check=False).stdout.strip()
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = [round(each, 2) for each in os.getloadavg()]
    return {"commit": head, "changed": bool(changed), "machine": machine, "load": load}


if __name__ == "__main__":
    sys.exit(main())
