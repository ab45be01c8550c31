"""threezone: a local GitOps lab (kind, Flux, Git) as named, composable, repeatable tasks."""

__version__ = "0.1.0"
