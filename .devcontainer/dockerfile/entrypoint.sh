#!/bin/sh
# Let the user vscode use the engine's socket: add it to the group that the socket has on this host. Programs that start
# later have the group, because docker exec reads it again. So this runs before the commands of the definition.
set -eu
socket=/var/run/docker.sock
if [ -S "$socket" ]; then
  gid=$(stat --format=%g "$socket")
  getent group "$gid" >/dev/null || groupadd --gid "$gid" engine
  usermod --append --groups "$(getent group "$gid" | cut -d: -f1)" vscode
fi
exec "$@"
