#!/usr/bin/env bash
# Sees to it that HAProxy 2.6 or later is installed: by apt-get as root or by sudo without a password, else it says how.
set -euo pipefail

version() {
	local path
	path=$(command -v haproxy || { [[ -x /usr/sbin/haproxy ]] && echo /usr/sbin/haproxy; }) || return 1
	"$path" -v | sed -nE '1s/.*version ([0-9]+)\.([0-9]+).*/\1 \2/p'
}

recent() {
	local major minor
	read -r major minor < <(version) || return 1
	((major > 2 || (major == 2 && minor >= 6)))
}

recent && exit 0
if command -v haproxy >/dev/null; then
	echo "HAProxy 2.6 or later must be installed; $(haproxy -v | head -n 1) is too old: see https://haproxy.debian.net" >&2
	exit 1
fi
as_root=()
if [[ $(id -u) != 0 ]]; then
	as_root=(sudo -n)
	if ! sudo -n true 2>/dev/null; then
		echo "HAProxy must be installed: run 'sudo apt-get install haproxy', or your system's equivalent (2.6 or later)" >&2
		exit 1
	fi
fi
if ! command -v apt-get >/dev/null; then
	echo "HAProxy must be installed from this system's packages (2.6 or later)" >&2
	exit 1
fi
echo "installing haproxy"
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y haproxy >/dev/null
recent || {
	echo "HAProxy 2.6 or later must be installed; this system's package is $(version || echo missing)" >&2
	exit 1
}
