# usage: need.sh [--check] NAME...
# Makes sure that cc (a C compiler, for the race detector), node (Node.js 20 or newer, with npm) and chromium (or what
# CHROMIUM names) are there.
# Missing ones are installed where apt-get and root allow it. What stays missing is named in one line, and fails if CI=true.
# With --check it installs and prints nothing and only tells by its status.
set -u

have() {
	case $1 in
	cc) command -v cc || command -v gcc || command -v clang ;;
	node) command -v npm && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' ;;
	chromium) command -v "${CHROMIUM:-/usr/bin/chromium}" ;;
	esac >/dev/null 2>&1
}

packages() {
	case $1 in
	cc) echo gcc libc6-dev ;;
	node) echo nodejs npm ;;
	chromium) echo chromium fonts-dejavu-core fonts-liberation ;;
	esac
}

without() {
	case $1 in
	cc) echo 'the race detector: it needs a C compiler (Go tests run without it)' ;;
	chromium) echo 'test-browser: it needs Chromium at /usr/bin/chromium, or CHROMIUM to name it' ;;
	node) echo 'test-sdk and test-browser: they need Node.js 20 or newer with npm' ;;
	esac
}

install() {
	command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ] || return 1
	apt-get update -qq >/dev/null 2>&1
	# shellcheck disable=SC2046 # several packages
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(packages "$1") >/dev/null 2>&1
}

check=
if [ "${1:-}" = --check ]; then
	check=1
	shift
fi
status=0
for name; do
	have "$name" && continue
	[ -n "$check" ] && exit 1
	install "$name"
	have "$name" && continue
	echo "left out $(without "$name")"
	[ "${CI:-}" = true ] && status=1
done
exit $status
