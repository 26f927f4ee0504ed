#!/bin/sh
# Debian's Chromium for tests/browser, installed when it is missing and this is root on a Debian; else those tests skip.
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" > /dev/null; then exit 0; fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "No chromium here: the tests of pages in a browser will be skipped." >&2
    exit 0
fi
echo "Installing chromium for the tests of pages in a browser." >&2
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } > /dev/null 2>&1 \
    || echo "It cannot be installed: those tests will be skipped." >&2
