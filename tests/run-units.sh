#!/bin/bash
# Runs the unit programs given as arguments, two at a time: one line for each with its number of
# tests, the full output of those that fail, and at the end "N passed, N failed" over all tests.
# A program that crashes, hangs or reports a leak after its last test counts as one failure more.
# Not a test runner of its own: the programs are cmocka's. Called by `make unit`.
set -u -o pipefail

SECONDS_MAX=${UNIT_SECONDS_MAX:-300}

run_one() { # DIR PROGRAM
    local dir=$1 program=$2 name passed failed rc skipped
    name=$(basename "$program")
    CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "$SECONDS_MAX" "$program" \
        >"$dir/$name.out" 2>&1 </dev/null
    rc=$?
    passed=$(grep -c '^ok [0-9]' "$dir/$name.out")
    failed=$(grep -c '^not ok [0-9]' "$dir/$name.out")
    skipped=$(grep -ci '^ok [0-9].*# *skip' "$dir/$name.out")
    passed=$((passed - skipped))
    # cmocka's exit status is the number of failed tests; anything else went wrong outside of them.
    if [ "$rc" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        echo "# $name ended with status $rc" >>"$dir/$name.out"
    elif [ "$rc" -eq 0 ] && [ "$passed" -eq 0 ] && [ "$skipped" -eq 0 ]; then
        failed=$((failed + 1))
        echo "# $name ran no test" >>"$dir/$name.out"
    fi
    echo "$passed $failed" >"$dir/$name.count"
    printf '%-28s %3d passed' "$name" "$passed"
    [ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
    [ "$failed" -eq 0 ] || printf ', %d FAILED' "$failed"
    printf '\n'
    [ "$failed" -eq 0 ] || sed 's/^/    /' "$dir/$name.out"
}

if [ "${1-}" = --one ]; then
    text=$(run_one "$2" "$3")
    printf '%s\n' "$text" # in one piece: two run at a time
    exit 0
fi
if [ $# -eq 0 ]; then
    echo "no unit program given" >&2
    echo "0 passed, 1 failed"
    exit 1
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
printf '%s\0' "$@" | xargs -0 -n 1 -P "${UNIT_JOBS:-2}" "$0" --one "$dir"
lost=$(($# - $(find "$dir" -name '*.count' | wc -l)))
read -r passed failed < <(cat "$dir"/*.count 2>/dev/null | awk '{p += $1; f += $2} END {print p + 0, f + 0}')
failed=$((failed + lost))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
