#!/usr/bin/env bash
# Builds the real parts that the tests and the demo run, from the Go modules beside this file, into bin/.
#
#   test/tools/build.sh kubernetes helm certmanager lint
#
# A part is built anew when its go.mod, go.sum, sources, flags or the Go version change; what was built is remembered
# in bin/.<part>.stamp. One line of progress comes every 15 seconds, so that a quiet CI log is not taken for a hang.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$root/bin
# One set of flags in every module: packages that two modules share are then compiled once.
export CGO_ENABLED=0 GOFLAGS=-trimpath GOWORK=off
mkdir -p "$bin"

# Two builds at once would each take half of the machine and do the same work twice.
exec 9>"$bin/.lock"
flock 9

kubernetes_version=v1.36.3
kubernetes_ldflags() {
	local out="-s -w" p
	# Without the stamp kubectl calls itself v0.0.0-master and Helm's kubeVersion checks fail.
	for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		out+=" -X $p.gitVersion=$kubernetes_version -X $p.gitMajor=1 -X $p.gitMinor=36 -X $p.gitTreeState=clean"
		out+=" -X $p.gitCommit=$(printf %040d 0) -X $p.buildDate=2026-01-01T00:00:00Z"
	done
	echo "$out"
}

# recipe PART prints one line "binary<TAB>package" for each program of the part.
recipe() {
	case $1 in
	kubernetes)
		printf 'etcd\tgo.etcd.io/etcd/server/v3\n'
		printf 'kube-apiserver\tk8s.io/kubernetes/cmd/kube-apiserver\n'
		printf 'kubectl\tk8s.io/kubernetes/cmd/kubectl\n'
		printf 'kube-controller-manager\tk8s.io/kubernetes/cmd/kube-controller-manager\n'
		;;
	helm) printf 'helm\thelm.sh/helm/v4/cmd/helm\n' ;;
	certmanager) printf 'cert-manager-controllers\t.\n' ;;
	lint) printf 'golangci-lint\tgithub.com/golangci/golangci-lint/v2/cmd/golangci-lint\n' ;;
	*)
		echo "test/tools/build.sh: no such part '$1'; the parts are kubernetes, helm, certmanager, lint" >&2
		exit 2
		;;
	esac
}

ldflags() {
	case $1 in
	kubernetes) kubernetes_ldflags ;;
	*) echo "-s -w" ;;
	esac
}

# digest PART prints a hash of everything that decides what the part's programs are.
digest() {
	{
		go version
		go env GOOS GOARCH
		echo "$CGO_ENABLED $GOFLAGS"
		recipe "$1"
		ldflags "$1"
		find "$root/test/tools/$1" -maxdepth 1 -type f \( -name go.mod -o -name go.sum -o -name '*.go' \) -print0 |
			LC_ALL=C sort -z | xargs -0 cat
	} | sha256sum | cut -d' ' -f1
}

build() {
	local part=$1 want have="" name pkg missing=0 start pulse tmp
	want=$(digest "$part")
	[[ -f $bin/.$part.stamp ]] && have=$(<"$bin/.$part.stamp")
	while IFS=$'\t' read -r name pkg; do
		[[ -x $bin/$name ]] || missing=1
	done < <(recipe "$part")
	[[ $part != certmanager || -s $bin/cert-manager-crds.yaml ]] || missing=1
	if [[ $want == "$have" && $missing == 0 ]]; then
		return 0
	fi
	rm -f "$bin/.$part.stamp"
	tmp=$(mktemp -d "$bin/.build.XXXXXX")
	while IFS=$'\t' read -r name pkg; do
		start=$SECONDS
		echo "building $name"
		# Its sleep must not hold the output open when the build is over.
		(
			while sleep 15 >/dev/null 2>&1; do echo "building $name ... $((SECONDS - start)) s"; done
		) 9>&- &
		pulse=$!
		if ! (cd "$root/test/tools/$part" && go build -buildvcs=false -ldflags "$(ldflags "$part")" -o "$tmp/$name" "$pkg" 9>&-); then
			kill "$pulse" 2>/dev/null || true
			rm -rf "$tmp"
			echo "test/tools/build.sh: $name of part '$part' did not build" >&2
			exit 1
		fi
		kill "$pulse" 2>/dev/null || true
		wait "$pulse" 2>/dev/null || true
		# Renamed into place, so that a program that runs keeps its old file and nobody starts half of one.
		mv -f "$tmp/$name" "$bin/$name"
		echo "built $name in $((SECONDS - start)) s"
	done < <(recipe "$part")
	rm -rf "$tmp"
	if [[ $part == certmanager ]]; then
		# The module has them as plain files, which its packages do not embed.
		(cd "$root/test/tools/certmanager" && dir=$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager) &&
			for file in "$dir"/deploy/crds/*.yaml; do echo ---; cat "$file"; done) >"$bin/cert-manager-crds.yaml"
	fi
	echo "$want" >"$bin/.$part.stamp"
}

for part in "$@"; do
	build "$part"
done
