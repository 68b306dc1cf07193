# Runs test/browser: the console in headless Chromium, and its sources through the TypeScript compiler. Packages are the
# locked ones; no install script of theirs runs. CHROMIUM names another browser than /usr/bin/chromium.
set -eu
cd "$(dirname "$0")"
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi
node_modules/.bin/tsc -p ../../web/tsconfig.json
exec node --test --test-concurrency=2 --test-reporter=spec
