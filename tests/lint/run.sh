#!/bin/bash
# All static checks: clang's warnings over every source, house rules (lint.py, also over the objects
# that clang made), format, and cppcheck. Prints findings as file:line: message, one line for each
# step, and last "N passed, N failed". Runs from the top of the tree; called by `make lint`.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

objects=${BUILD:-build}/lint
jobs=${LINT_JOBS:-2}
mkdir -p "$objects"
passed=0
failed=0

step() { # NAME CHECKS BAD
    passed=$((passed + $2 - $3))
    failed=$((failed + $3))
    printf '%-14s %4d checks, %d bad\n' "$1" "$2" "$3"
}

mapfile -t all < <(git ls-files -co --exclude-standard -- '*.c' '*.h' 2>/dev/null |
    while read -r file; do [ -f "$file" ] && echo "$file"; done | sort -u)
if [ "${#all[@]}" -eq 0 ]; then # a source archive
    mapfile -t all < <(find base vmm-bridge runtime k8s provider tests -name '*.[ch]' | sort)
fi
# Guests are programs for a machine without this system's headers: their own Makefile compiles them.
mapfile -t hosted < <(printf '%s\n' "${all[@]}" | grep -v '^tests/guests/')
mapfile -t sources < <(printf '%s\n' "${hosted[@]}" | grep '\.c$')

# shellcheck disable=SC2016 # make expands it
flags=$(make -s --eval='lint-flags:;$(info $(BASE_CFLAGS))@:' lint-flags) || exit 1

compile_one() { # SOURCE
    mkdir -p "$objects/$(dirname "$1")"
    rm -f "$objects/${1%.c}.o" "$objects/${1%.c}.bad"
    # shellcheck disable=SC2086 # flags are words
    eval "${LINT_CLANG:-clang} $flags -fno-color-diagnostics -O0 -c \"$1\" -o \"$objects/${1%.c}.o\"" 2>&1 ||
        touch "$objects/${1%.c}.bad"
}
export -f compile_one
export objects flags
find "$objects" -name '*.bad' -delete
printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$jobs" bash -c 'compile_one "$1"' _
step clang "${#sources[@]}" "$(find "$objects" -name '*.bad' | wc -l)"

rules=$(python3 tests/lint/lint.py --objects "$objects")
printf '%s\n' "$rules" | sed '$d'
read -r good bad < <(printf '%s\n' "$rules" |
    sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
step rules $((${good:-0} + ${bad:-1})) "${bad:-1}"

findings=$(clang-format --dry-run "${all[@]}" 2>&1 |
    sed -n 's/: warning: .*/: not as clang-format writes it/p' | sort -t: -k1,1 -u)
[ -z "$findings" ] || printf '%s\n' "$findings"
step clang-format "${#all[@]}" "$(printf '%s' "$findings" | grep -c .)"

# cppcheck sees no macro of a library, and what it cannot see it does not judge.
mkdir -p "$objects/cppcheck" # what did not change is not judged again
findings=$(cppcheck --quiet --cppcheck-build-dir="$objects/cppcheck" --enable=warning,portability --std=c11 --language=c -j "$jobs" -I . \
    -D_GNU_SOURCE -D__linux__ --inline-suppr --suppressions-list=tests/lint/cppcheck.txt \
    --suppress=missingIncludeSystem --template='{file}:{line}: {message} [{id}]' \
    "${sources[@]}" 2>&1)
[ -z "$findings" ] || printf '%s\n' "$findings"
step cppcheck "${#sources[@]}" "$(printf '%s' "$findings" | sed 's/:.*//' | sort -u | grep -c .)"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
