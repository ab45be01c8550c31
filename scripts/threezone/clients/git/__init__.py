"""git: its argument lists, its environment and its answers.

`Own` is a repository that we made: the commits of a proof, a copy of the Git server, the carrier of a push. git reads
no configuration there but what stands here, runs no hook, asks nobody for a password and uses no proxy.

`Checkout` is the user's repository. It is read with the user's configuration, which says whose repositories are trusted
(safe.directory, the caller's GIT_CONFIG_COUNT too), what is ignored and how lines end. Nothing in it is changed.

A push to the lab leaves from a carrier: an empty repository of our own that sees the user's objects. Overriding the
user's configuration instead would not do: insteadOf, http.*.extraHeader and the like cannot be unset.
A push to the user's own remote runs in the checkout: its credentials, proxy, certificates, insteadOf, hooks (Git LFS
uploads in one) and signatures are how that remote wants to be pushed to. One commit goes there; no tag, no submodule.
"""
