# The release says which image belongs to this commit. It is written whole: nothing has to be parsed.
if [ -f Dockerfile ]; then
  mkdir -p "$RELEASE"
  printf '%s\n' 'apiVersion: kustomize.config.k8s.io/v1alpha1' 'kind: Component' 'images:' \
    "  - name: app" "    newName: $IMAGE" "    newTag: \"$SHA\"" >"$RELEASE/kustomization.yaml"
  git add "$RELEASE"
  # With the date of what it releases: a job that is run again makes the same commit. It starts no pipeline.
  export GIT_AUTHOR_DATE="$(git show --no-patch --format=%cI)"
  export GIT_COMMITTER_DATE="$GIT_AUTHOR_DATE"
  git diff --cached --quiet || git -c user.name=threezone -c user.email=threezone@localhost \
    commit --quiet --message "Release $SHA [skip ci]"
fi
