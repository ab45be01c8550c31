"""The types of the outputs about routes to the API server: kubeconfig.*, zones.*."""

from threezone.tasks.outputs.base import Output


class Stage(Output):
    """A stage of a route: dns, tcp, tls, readyz or auth."""

    ok: bool | None
    seconds: float | None
    why: str | None


class EntryCheck(Output):
    """A kubeconfig entry, proved as it is."""

    context: str
    state: str
    exitCode: int  # noqa: N815
    file: str
    server: str
    tlsServerName: str | None  # noqa: N815
    stages: dict[str, Stage | None]
    seconds: float
    why: str | None
    fix: str | None
    notices: list[str]


class Entry(Output):
    """A kubeconfig entry; `credential` is its kind, never its value."""

    context: str
    current: bool
    file: str
    server: str
    tlsServerName: str | None  # noqa: N815
    namespace: str | None
    caSha256: str | None  # noqa: N815
    credential: str | None


class ProbedRoute(Output):
    """A route to the API server with its stages; null for a stage that was not tried."""

    name: str
    server: str
    tlsServerName: str | None  # noqa: N815
    needs: str | None
    stages: dict[str, Stage | None]
    ok: bool
    seconds: float
    why: str | None


class Chosen(Output):
    """The route that is used."""

    server: str
    tlsServerName: str | None  # noqa: N815


class Probe(Output):
    """All routes, and the one that is used."""

    zone: str
    routes: list[ProbedRoute]
    chosen: Chosen | None


class ShownEngine(Output):
    """The container engine as zones.show draws it."""

    state: str
    endpoint: str
    version: str | None


class ShownNode(Output):
    """A node as zones.show draws it."""

    name: str
    role: str
    state: str
    networks: list[str]
    published: str


class ShownCluster(Output):
    """The cluster as zones.show draws it."""

    name: str
    nodes: list[ShownNode]
    why: str | None


class ShownEntry(Output):
    """The kubeconfig's entry as zones.show draws it."""

    context: str
    server: str
    tlsServerName: str | None  # noqa: N815
    file: str


class ShownKubeconfig(Output):
    """The kubeconfig as zones.show draws it."""

    entry: ShownEntry | None
    why: str | None


class Shown(Output):
    """What zones.show draws."""

    engine: ShownEngine
    cluster: ShownCluster
    kubeconfig: ShownKubeconfig


class Place(Output):
    """Where this process runs."""

    kind: str
    evidence: list[str]
    container_id: str
    networks: list[str]
    joined: bool
    engine: str
    engine_host: str
    gateway: str
    gateway6: str
    ci: str
    devcontainer: bool
    system: str
    facts: Shown
