"""The result of a proof: the stages of a route, and why it failed. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from threezone.zones.routes import Route

StageName = Literal["dns", "tcp", "tls", "readyz", "auth"]
STAGES: tuple[StageName, ...] = ("dns", "tcp", "tls", "readyz", "auth")

# Why a stage failed, for `diagnostics.py`. `silent`: no answer before the deadline.
Cause = Literal[
    "", "address", "unknown-name", "refused", "unreachable", "authority", "name", "date", "plain-http", "handshake",
    "closed", "not-ready", "unauthorized", "forbidden", "not-an-api", "plugin", "silent", "other",
]  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One stage of a proof. `why` has the reason of a failure, or the result."""

    name: StageName
    ok: bool
    seconds: float
    why: str = ""
    cause: Cause = ""

    def data(self) -> dict[str, Any]:
        """The stage as JSON."""
        return {"ok": self.ok, "seconds": round(self.seconds, 4), "why": self.why or None}


@dataclass(frozen=True)
class Proof:
    """The proof of one route. `why` is empty if it succeeded."""

    route: Route
    stages: tuple[Stage, ...] = ()
    seconds: float = 0.0
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether every stage succeeded."""
        return len(self.stages) == len(STAGES) and all(stage.ok for stage in self.stages)

    def data(self) -> dict[str, Any]:
        """The proof as JSON; a stage that was not reached is null."""
        return {
            "name": self.route.name,
            "server": self.route.server,
            "tlsServerName": self.route.tls_server_name or None,
            "needs": self.route.needs or None,
            "stages": {**dict.fromkeys(STAGES), **{stage.name: stage.data() for stage in self.stages}},
            "ok": self.ok,
            "seconds": round(self.seconds, 4),
            "why": self.why or None,
        }


@dataclass(frozen=True)
class Verdict:
    """The proofs of all routes, in their order, and the one that was chosen, if any."""

    chosen: Proof | None
    proofs: tuple[Proof, ...]
    seconds: float = 0.0

    @property
    def evidence(self) -> str:
        """A line per route, for an error."""
        return "\n".join(f"{proof.route.server}: {proof.why or 'proved'}" for proof in self.proofs)

    def then(self, later: Verdict) -> Verdict:
        """Return this verdict joined with a later one, whose choice counts."""
        return Verdict(later.chosen, (*self.proofs, *later.proofs), self.seconds + later.seconds)
