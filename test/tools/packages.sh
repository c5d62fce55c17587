#!/usr/bin/env bash
# Sees to it that HAProxy 2.6 or later and curl are installed: by apt-get as root or by sudo without a password, else it
# says how.
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

missing=()
if ! recent; then
	if command -v haproxy >/dev/null; then
		echo "HAProxy 2.6 or later must be installed; $(haproxy -v | head -n 1) is too old" >&2
		exit 1
	fi
	missing+=(haproxy)
fi
command -v curl >/dev/null || missing+=(curl)
((${#missing[@]})) || exit 0

advice="must be installed: run 'sudo apt-get install ${missing[*]}', or your system's equivalent (HAProxy 2.6 or later)"
as_root=()
if [[ $(id -u) != 0 ]]; then
	as_root=(sudo -n)
	sudo -n true 2>/dev/null || {
		echo "${missing[*]} $advice" >&2
		exit 1
	}
fi
command -v apt-get >/dev/null || {
	echo "${missing[*]} $advice" >&2
	exit 1
}
echo "installing ${missing[*]}"
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${missing[@]}" >/dev/null
recent || {
	echo "HAProxy 2.6 or later must be installed; this system's package is $(version || echo missing)" >&2
	exit 1
}
