#!/usr/bin/env bash
# Sets everything up, then runs the tests. Pytest's closing line is the last one printed, its exit code is this script's.
# Without options all default tests run, some files side by side; with options it is pytest as given.
# Use: bash jobs/test.sh [options of pytest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash jobs/setup.sh --tests
if (($# == 0)); then # a file's tests stay together, for what they share; one more than cores, since tests also wait
    cores="$(nproc)"
    set -- -n "$((cores < 4 ? cores + 1 : 4))" --dist loadfile
fi

# Not a plain call: libraries print at exit, behind the closing line; and not a pipe: a process that outlives its test
# would keep it open.
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
colour=()
[[ -t 1 ]] && colour=(--color=yes)
set -m # a process group of its own, in which Ctrl-C is not ignored
.venv/bin/python -m pytest ${colour[@]+"${colour[@]}"} "$@" >"$log" 2>&1 &
tests=$!
set +m
trap 'kill -INT "$tests" 2>/dev/null || true' INT TERM
tail -n +1 -s 0.2 -f --pid="$tests" "$log" &
shown=$!
code=0
wait "$tests" || code=$?
while kill -0 "$tests" 2>/dev/null; do wait "$tests" || code=$?; done # a signal ends `wait` early
wait "$shown" || true

closing="$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '^(=+ )?([0-9]+ [a-z]+, )*([0-9]+ [a-z]+|no tests ran) in [0-9.]+s' | tail -n 1 || true)"
last="$(sed 's/\x1b\[[0-9;]*m//g' "$log" | tail -n 1)"
[[ -z "$closing" || "$closing" == "$last" ]] || printf '%s\n' "$closing"
exit "$code"
