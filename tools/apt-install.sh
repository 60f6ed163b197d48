#!/bin/sh
# Installs Debian packages: as root directly, else through sudo. Starts no service.
set -eu
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
echo "installing $* from Debian's packages" >&2
$as_root apt-get update -qq
# a policy of 101 keeps the package from starting its own server; an existing policy stays as it is
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
  $as_root chmod +x "$policy"
  trap '$as_root rm -f "$policy"' EXIT
fi
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
