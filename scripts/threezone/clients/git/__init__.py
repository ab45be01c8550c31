"""git: its argument lists, its environment and its answers.

`Own` is a repository that we made: the commits of a proof, a copy of the Git server, the start of a push. git uses
only our configuration there, runs no hooks, asks for no password and uses no proxy.

`Checkout` is the user's repository. It is read with the user's configuration (safe.directory, also from the caller's
GIT_CONFIG_COUNT; ignored files; line ends), and never changed. One command commits there, `commit.commit_file`: one
file, as the user would do it, with their identity, hooks and signature.

A push to the lab starts from an empty repository of ours that uses the objects of the user's repository. In the
checkout, insteadOf, http.*.extraHeader and the like could not be unset. A push to the user's own remote runs in the
checkout, with its credentials, proxy, certificates, insteadOf, hooks (Git LFS uploads in one) and signatures. It pushes
one commit, no tags and no submodules.
"""
