# What must hold of a commit besides its tests. Every fault is printed; the status tells if there was one.
set -u
status=0

fault() {
	echo "verify: $1"
	status=1
}

unformatted=$(gofmt -l cmd internal test tools/web doc.go)
[ -z "$unformatted" ] || fault "not formatted, run gofmt -w on: $unformatted"

go mod tidy -diff >/dev/null 2>&1 || fault 'go.mod or go.sum is not tidy, run go mod tidy'
go vet ./... || fault 'go vet found faults'

(cd tools/web && go run . -check) || fault 'internal/console/dist is not what web makes, run make web'

# A function that calls reflect's Method or MethodByName with a name unknown to the linker keeps every exported method of
# every reachable type in the binary (13 MB here). None of the functions that do so may be linked in.
# The dump goes to a file of its own name, so that the link is never taken from the cache.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
CGO_ENABLED=0 go build -trimpath -ldflags=-dumpdep -o "$tmp/millrace" ./cmd/millrace 2>"$tmp/dump" || fault 'the dump of dependencies does not build'
[ -s "$tmp/dump" ] || fault 'the linker printed no dependencies, so reflection could not be checked'
reflecting=$(sed -n 's/^\(.*\) <ReflectMethod> -> .*/\1/p' "$tmp/dump" | grep -v '^reflect\.' | sort -u)
[ -z "$reflecting" ] || fault "reflection by method name turns off dead code elimination: $reflecting"

[ $status = 0 ] && echo 'verify: formatted, tidy, vetted, and no reflection by method name'
exit $status
