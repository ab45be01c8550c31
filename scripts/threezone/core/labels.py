"""The labels of containers and images: kind's, and ours. Objects without ours are never changed."""

# kind, pkg/cluster/internal/providers/common: on every container of a cluster.
KIND_CLUSTER = "io.x-k8s.kind.cluster"
KIND_ROLE = "io.x-k8s.kind.role"

MANAGED = "io.threezone.managed"  # on every image that we built, also on unnamed intermediate ones
REGISTRY = "io.threezone.registry"  # on the local registry and its mirrors: registry/port/upstream
LEASE = "io.threezone.lease"  # on the container that is a cluster's lease; LEASE.user and so on name its holder
OWNER = "io.threezone.cluster"  # on the node image that cluster.create derives; containers inherit it

# Kubernetes objects of a preview: Flux's objects, its namespaces, and everything that Flux applies for it.
PREVIEW = "threezone.io/preview"
