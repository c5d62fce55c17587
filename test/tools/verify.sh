#!/usr/bin/env bash
# Fails when what is generated, go.mod or the formatting differs from what the sources give, and names the command that
# mends it. It works on a copy of the tracked files, so that nothing in the working tree changes.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
export CGO_ENABLED=0 GOFLAGS=-trimpath
failed=0
fail() {
	echo "verify: $1" >&2
	failed=1
}

unformatted=$(git ls-files -z --cached --others --exclude-standard -- '*.go' |
	while IFS= read -r -d '' file; do [[ -f $file ]] && printf '%s\0' "$file"; done | xargs -0 -r gofmt -l)
if [[ -n $unformatted ]]; then
	echo "$unformatted" >&2
	fail "not formatted: run 'gofmt -w .'"
fi

for module in . test/tools/*/; do
	[[ -f $module/go.mod ]] || continue
	if ! (cd "$module" && go mod tidy -diff); then
		fail "go.mod or go.sum of ${module%/} is not tidy: run 'go mod tidy' there"
	fi
done

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard |
	while IFS= read -r -d '' file; do [[ -e $file ]] && printf '%s\0' "$file"; done |
	tar --null --files-from=- -cf - | tar -xf - -C "$copy"
git -C "$copy" init -q
git -C "$copy" add -A
if ! (cd "$copy" && go generate ./...); then
	fail "'go generate ./...' failed: run 'make generate'"
fi
# What is new counts as a difference too.
git -C "$copy" add -N .
if ! git -C "$copy" --no-pager diff --exit-code >&2; then
	fail "generated files are out of date: run 'make generate'"
fi

exit "$failed"
