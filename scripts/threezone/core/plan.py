"""The plan as data. Status, --dry-run, the question and apply all use the same plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto


class StepKind(Enum):
    """What a step does."""

    NOTE = auto()  # information only; nothing is done
    # The engine, tools and images
    INSTALL_ENGINE = auto()
    WRAP_RUNTIME = auto()
    START_ENGINE = auto()
    RELOAD_ENGINE = auto()
    GET_TOOLS = auto()
    GET_IMAGES = auto()
    REMOVE_IMAGES = auto()
    REMOVE_IMAGE = auto()
    REMOVE_PATH = auto()
    START_REGISTRY = auto()
    STOP_REGISTRY = auto()
    BUILD_IMAGE = auto()
    LOAD_IMAGE = auto()
    PUSH_IMAGE = auto()
    # The cluster
    WAIT_FOR_LEASE = auto()  # of another run that changes it
    CREATE_CLUSTER = auto()
    RECREATE_CLUSTER = auto()
    DELETE_CLUSTER = auto()
    REMOVE_ORPHANS = auto()
    START_NODES = auto()
    STOP_NODES = auto()
    LABEL_NODES = auto()
    WAIT_FOR_NODES = auto()
    WAIT_FOR_PODS = auto()
    # The route to the API server
    CONNECT = auto()
    REMOVE_CONTEXT = auto()
    ADOPT_CONTEXT = auto()
    RELEASE_CONTEXT = auto()
    CHANGE_CLUSTER = auto()  # asks before the first change to a cluster that is not ours
    # Flux
    INSTALL_FLUX = auto()
    WAIT_FOR_FLUX = auto()
    REMOVE_FLUX = auto()
    SUSPEND_OBJECTS = auto()
    DELETE_OBJECTS = auto()
    DELETE_COMPONENTS = auto()
    DELETE_NAMESPACE = auto()
    # Git and the delivery
    SERVE_GIT = auto()
    WAIT_FOR_GIT = auto()
    BACK_UP_GIT = auto()
    RESTORE_GIT = auto()
    REMOVE_GIT = auto()
    REPLACE_DELIVERY = auto()
    START_PREVIEW = auto()
    STOP_PREVIEW = auto()
    COMMIT = auto()
    DELIVER = auto()
    WAIT_FOR_WORKLOADS = auto()
    # Repairs by doctor
    REMOVE_LOCK = auto()
    RESTART_KUBELET = auto()
    RESTORE_ADDON = auto()
    SCALE_UP = auto()
    RESUME_OBJECTS = auto()
    DELETE_PODS = auto()
    END_DAEMON = auto()
    # Everything else
    WRITE_FILE = auto()
    APPLY_OBJECT = auto()
    DELETE_OBJECT = auto()
    END_TOKENS = auto()


@dataclass(frozen=True)
class Step:
    """One change. `target` is the changed object if a plan has several steps of a kind; `command` can be pasted.

    A step `asks` for consent if it destroys something of the user's or changes the machine outside our cache. After a
    step that `reveals` more of the cluster, the rest is planned again.
    """

    kind: StepKind
    sentence: str
    command: str = ""
    asks: bool = False
    target: str = ""
    reveals: bool = False

    @property
    def data(self) -> dict[str, str | bool]:
        """The step for programs; its keys are an interface."""
        kind = self.kind.name.lower().replace("_", "-")
        return {"kind": kind, "sentence": self.sentence, "command": self.command, "asks": self.asks}


@dataclass(frozen=True)
class Plan:
    """Steps in their order, and notices for the user."""

    steps: tuple[Step, ...] = ()
    notices: tuple[str, ...] = ()


def has(steps: Iterable[Step], kind: StepKind) -> bool:
    """Whether a step of this kind is among them."""
    return any(step.kind is kind for step in steps)


def describe(steps: Sequence[Step]) -> str:
    """The plan as text: a line for each step, and its command."""
    lines = []
    for step in steps:
        lines.append(("! " if step.asks else "+ ") + step.sentence)
        lines.extend(f"    $ {line}" for line in step.command.splitlines())
    return "\n".join(lines) or "nothing to do"
