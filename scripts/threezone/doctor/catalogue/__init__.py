"""The catalogue: every fault that is known, each a row with its symptom, cause, evidence and fix."""

from __future__ import annotations

import re

from threezone.doctor.catalogue import cluster, engine, flux, git, host, kubeconfig, nodes, words, workloads
from threezone.doctor.row import Row

# In the order in which one part needs the other: of two independent causes, the first is named first.
ROWS: tuple[Row, ...] = (
    *engine.ROWS,
    *host.ROWS,
    *cluster.ROWS,
    *nodes.ROWS,
    *kubeconfig.ROWS,
    *workloads.ROWS,
    *git.ROWS,
    *flux.ROWS,
    *words.ROWS,
)
BY_ID = {row.id: row for row in ROWS}


def recognise(text: str) -> Row | None:
    """The row whose words are in a message of any program, or None. The longest match is the most telling."""
    found = [
        (len(match.group()), -index, row)
        for index, row in enumerate(ROWS)
        if row.words and (match := re.search(row.words, text, re.IGNORECASE))
    ]
    return max(found, key=lambda each: each[:2])[2] if found else None
