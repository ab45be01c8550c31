#!/bin/sh
# Let the user vscode use the engine's socket, as root does: it joins the group that the socket has on this host. Programs
# that are started later have it (docker exec reads the groups anew), so this runs before any command of the definition.
set -eu
socket=/var/run/docker.sock
if [ -S "$socket" ]; then
  gid=$(stat --format=%g "$socket")
  getent group "$gid" >/dev/null || groupadd --gid "$gid" engine
  usermod --append --groups "$(getent group "$gid" | cut -d: -f1)" vscode
fi
exec "$@"
