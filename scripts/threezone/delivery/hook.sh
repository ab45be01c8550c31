#!/bin/sh
# threezone delivers each commit on @branch@: `@command@ gitops.watch --uninstall-hook` takes this away.
@created@
status=0
if [ -x "$0.kept-by-threezone" ]; then "$0.kept-by-threezone" "$@" || status=$?; fi
[ "$(git symbolic-ref --quiet HEAD)" = @ref@ ] || exit $status
[ "$(git rev-parse --path-format=absolute --git-common-dir)" = @common@ ] || exit $status
commit=$(git rev-parse --short HEAD)
log=$(git rev-parse --path-format=absolute --git-path threezone-delivery.log)
cd "$(git rev-parse --show-toplevel)"/@prefix@ || exit $status
unset $(git rev-parse --local-env-vars | grep -v '^GIT_CONFIG_COUNT$')
umask 077
deliver() {
  if @command@ gitops.watch --once @options@ >"$log.$$" 2>&1; then
    tail -n 1 "$log.$$"
  else
    echo "threezone: $commit was not delivered"
    sed -n '/^error: /,$p' "$log.$$"
  fi
  mv -f "$log.$$" "$log"
}
echo "threezone: delivering $commit in the background (log: $log)" >&2
if [ -t 2 ]; then deliver </dev/null >&2 & else deliver </dev/null >/dev/null 2>&1 & fi
exit $status
