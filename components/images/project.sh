#!/bin/sh
# Installs elysium itself, without what it needs, into /opt/elysium of a build stage that has nothing else there.
# usage: project.sh SOURCE
set -eu
base="$(sed -n 's/^home = //p' /opt/elysium/pyvenv.cfg)/python3"
"$base" -m pip --python /opt/elysium/bin/python install --quiet --disable-pip-version-check --root-user-action=ignore \
  --no-cache-dir --no-deps --no-compile "$1"
/opt/elysium/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/elysium/lib
