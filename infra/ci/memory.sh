#!/bin/sh
# Prints where a throw-away Postgres of the tests is made: in memory if there are 8 GiB of it (a thousand databases are made
# and dropped), else among the temporary files.
set -eu

room=$(df -kP /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
if [ "${room:-0}" -gt 8388608 ]; then echo /dev/shm; else echo "${TMPDIR:-/tmp}"; fi
