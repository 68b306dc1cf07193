# Runs test/sdk against bin/millrace. Packages are the locked ones; no install script of theirs runs.
set -eu
root=$(pwd)
cd test/sdk
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi
MILLRACE_BIN="${MILLRACE_BIN:-$root/bin/millrace}" exec node --test --test-concurrency=4 --test-reporter=spec
