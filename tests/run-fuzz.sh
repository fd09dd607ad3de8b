#!/bin/bash
# Replays each fuzz program given as argument (build/fuzz/fuzz_X) over its corpus
# tests/fuzz/corpus/X/: one line for each, the output of those that fail, and at the end
# "N passed, N failed" over all inputs. An absent or empty corpus is a failure: it tests nothing.
# Not the search for new inputs. Called by `make fuzz-check`.
set -u -o pipefail

SECONDS_MAX=${FUZZ_SECONDS_MAX:-300}
corpora=$(dirname "$0")/fuzz/corpus

if [ $# -eq 0 ]; then
    echo "no fuzz program given" >&2
    echo "0 passed, 1 failed"
    exit 1
fi
out=$(mktemp)
trap 'rm -f "$out"' EXIT
passed=0
failed=0
for program in "$@"; do
    name=$(basename "$program")
    corpus=$corpora/${name#fuzz_}
    count=$(find "$corpus" -type f 2>/dev/null | wc -l)
    if [ "$count" -eq 0 ]; then
        printf '%-28s FAILED: no input in %s\n' "$name" "$corpus"
        failed=$((failed + 1))
        continue
    fi
    timeout -k 5 "$SECONDS_MAX" "$program" "$corpus" >"$out" 2>&1 </dev/null
    rc=$?
    # The last line is the program's own count: a run that ended early does not print it.
    ran=$(sed -n '$s/^\([0-9]*\) inputs$/\1/p' "$out")
    if [ "$rc" -eq 0 ] && [ "${ran:-0}" -eq "$count" ]; then
        printf '%-28s %3d inputs\n' "$name" "$count"
        passed=$((passed + count))
    else
        printf '%-28s FAILED with status %d, %s of %d inputs\n' "$name" "$rc" "${ran:-?}" "$count"
        sed 's/^/    /' "$out"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
