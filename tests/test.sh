#!/bin/bash
# make test: everything that must pass, in one run. Prints each part's result as it ends and closes
# with "N passed, N failed". A part that cannot run counts as one failure and says why.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
passed=0
failed=0
start=$SECONDS

# What is built from Go modules takes minutes the first time: it builds while the rest runs.
{
    tests/cluster/build || exit 1
    for tool in helm containerd metrics-server; do
        tests/cluster/tools "$tool" || exit 1
    done
} > "$log/cluster" 2>&1 &
cluster_build=$!

# part NAME COMMAND...: its output is kept and shown; its counts are added.
part() {
    local name=$1 status line p f
    shift
    echo "=== $name ($((SECONDS - start)) s)"
    "$@" > "$log/part" 2>&1
    status=$?
    line=$(grep -aE '[0-9]+ (passed|failed)' "$log/part" | tail -n 1)
    p=$(grep -oE '[0-9]+ passed' <<< "$line" | grep -oE '[0-9]+')
    f=$(grep -oE '[0-9]+ (failed|errors?)' <<< "$line" | grep -oE '[0-9]+' | paste -sd+ | bc)
    if [ -z "$line" ]; then
        # A command that counts nothing is one check.
        p=$((status == 0))
        f=$((status != 0))
    elif [ "$status" -ne 0 ] && [ "${f:-0}" -eq 0 ]; then
        f=1
    fi
    passed=$((passed + ${p:-0}))
    failed=$((failed + ${f:-0}))
    if [ "$status" -ne 0 ]; then
        tail -n 150 "$log/part"
    else
        tail -n 3 "$log/part"
    fi
}

part "build" make --no-print-directory -j2 all
part "lint" make --no-print-directory lint
part "unit tests" make --no-print-directory -j2 unit
part "fuzz corpora" make --no-print-directory -j2 fuzz-check
part "simulation" make --no-print-directory -j2 sim
echo "=== waiting for the control plane's binary ($((SECONDS - start)) s)"
if ! wait "$cluster_build"; then
    tail -n 40 "$log/cluster"
    echo "the control plane or a tool beside it cannot be built: end-to-end tests cannot run"
    failed=$((failed + 1))
else
    part "end-to-end" sh -c 'cd tests/e2e && python3 -m pytest -q -p no:cacheprovider --durations=10'
fi
echo "=== done in $((SECONDS - start)) s"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
