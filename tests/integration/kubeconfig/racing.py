"""Many writers on one kubeconfig at once, ours and the real kubectl; every entry that was ever written has to be there.

kubectl loses entries among its own kind: it reads before it locks and removes what it had not seen by then (client-go,
ModifyConfig). That is not ours to prove, so here one kubectl runs at a time; ours run whenever they like.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from threezone.core.process import run
from threezone.kubeconfig import document, store
from threezone.kubeconfig.document import BODY

# Ends only when every round is written; it pauses, so that there are moments without a lock, which kubectl needs.
WRITER = """
import random, sys, time
from threezone.kubeconfig import document, store
path, who, rounds, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
for number in range(rounds):
    store.update(lambda old: document.put(old, "clusters", f"{who}-{number}", {"server": "https://x"}),
                 env={"KUBECONFIG": path}, timeout=600)
    time.sleep(random.uniform(0, 2 * pause))
"""

# What was there once has to stay: a half-written file and a lost entry both show as something missing.
READER = """
import pathlib, sys
from threezone.kubeconfig import document, store
path, stop = sys.argv[1:]
seen, reads = set(), 0
while not pathlib.Path(stop).exists():
    now = store.read({"KUBECONFIG": path}).document
    names = {(section, name) for section in document.BODY for name in document.items(now, section)}
    if not seen <= names:
        sys.exit(f"gone after {reads} reads: {sorted(seen - names)}")
    seen, reads = names, reads + 1
print(reads)
"""

KUBECTL = {
    "clusters": ("set-cluster", "--server=https://x"),
    "contexts": ("set-context", "--cluster=x"),
    "users": ("set-credentials", "--username=x"),
}


@dataclass(frozen=True)
class Outcome:
    """What a race came to: entries that are not there, reads meanwhile, and how often kubectl met a lock and left."""

    missing: tuple[str, ...]
    entries: int
    reads: int
    refused: int
    left_behind: tuple[str, ...]


def race(directory: Path, kubectl: Path, *, ours: int, theirs: int, rounds: int, pause: float) -> Outcome:
    """Let `ours` + `theirs` writers add `rounds` entries each to one file; ours pause `pause` seconds in between."""
    path, stop = directory / "config", directory.with_name(f"{directory.name}-stop")
    env = {"KUBECONFIG": str(path)}
    one_kubectl = threading.Lock()
    sections = list(BODY)
    limit = 60.0 + rounds * 10

    def kubectl_writer(who: int) -> int:
        refused = 0
        for number in range(rounds):
            verb, option = KUBECTL[sections[number % 3]]
            while True:
                with one_kubectl:
                    argv: list[str | Path] = [kubectl, "config", verb, f"theirs-{who}-{number}", option]
                    done = run(argv, timeout=60, env=env, check=False)
                if done.exit_code == 0:
                    break
                assert "file exists" in done.stderr, done.stderr
                refused += 1
        return refused

    with ThreadPoolExecutor(ours + theirs + 1) as pool:
        reading = pool.submit(run, [sys.executable, "-c", READER, path, stop], timeout=limit)
        writing = [
            pool.submit(
                run, [sys.executable, "-c", WRITER, path, f"ours-{who}", str(rounds), str(pause)], timeout=limit
            )
            for who in range(ours)
        ]
        setting = [pool.submit(kubectl_writer, who) for who in range(theirs)]
        try:
            refused = sum(future.result() for future in setting)
            for future in writing:
                future.result()
        finally:
            stop.touch()
        reads = int(reading.result().stdout)
    there = store.read(env).document
    found = {name for section in BODY for name in document.items(there, section)}
    wanted = {
        f"{kind}-{who}-{number}"
        for kind, writers in (("ours", ours), ("theirs", theirs))
        for who in range(writers)
        for number in range(rounds)
    }
    left = tuple(child.name for child in directory.iterdir() if child != path)
    return Outcome(tuple(sorted(wanted - found)), len(found), reads, refused, left)
