#!/usr/bin/env python3
"""Checks what a compiler does not: who may include whom, lengths, banned functions, globals.

Each rule is one function over one file and yields (line, message). A rule that finds nothing in a
file counts as passed, else as failed. Not a parser of C: comments and literals are blanked out
first, and clang-format keeps a function's braces in the first column, which is all it leans on.

usage: lint.py [--root DIR] [--objects DIR]
--objects: compiled objects in the tree's layout; their symbols are searched for variables.
Called by tests/lint/run.sh; tested by tests/lint/test_lint.py.
"""
import argparse
import os
import re
import subprocess
import sys

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100

# Project headers that each folder may include; the longest matching prefix of a file's path counts.
ARROWS = {
    "base/": ["base/"],
    "vmm-bridge/": ["base/", "vmm-bridge/"],
    "runtime/": ["base/", "vmm-bridge/", "runtime/"],
    # str.h for comparing; that it also declares allocators is caught by CORE_BANNED.
    "provider/core/": ["provider/core/", "base/str.h"],
    "provider/scaler/": ["base/", "provider/core/", "k8s/", "provider/scaler/",
                         "provider/config_table.h", "provider/config_shape.h"],
    "k8s/": ["base/", "provider/core/", "k8s/"],
    "provider/": ["base/", "vmm-bridge/", "runtime/", "provider/", "k8s/"],
}

# Third-party headers: pattern, and where they are allowed (folder prefix, or a file).
THIRD_PARTY = [
    (r"curl/", ["k8s/"]),
    (r"libwebsockets|lws_", ["k8s/"]),
    (r"openssl/", ["k8s/", "base/digest.c"]),
    (r"yaml\.h", ["k8s/"]),
    (r"cjson/|cJSON", ["base/json.c"]),
    (r"uv\.h|uv/", ["base/", "vmm-bridge/", "runtime/", "k8s/", "provider/"]),
    (r"archive", ["runtime/"]),
    (r"seccomp\.h", ["runtime/"]),
    (r"zlib\.h", ["k8s/", "runtime/"]),
    (r"cmocka", []),
]
CORE_SYSTEM = {"assert.h", "errno.h", "inttypes.h", "limits.h", "stdarg.h", "stdbool.h",
               "stddef.h", "stdint.h", "stdio.h", "string.h"}

BANNED = {
    "sprintf": "snprintf or buf_addf", "vsprintf": "vsnprintf or buf_vaddf",
    "strcpy": "str_copy", "stpcpy": "str_copy", "strncpy": "str_copy",
    "strcat": "a buf", "strncat": "a buf",
    "strtok": "strtok_r or strcspn",
    "gets": "fgets", "atoi": "str_to_i64", "atol": "str_to_i64", "atoll": "str_to_i64",
    "atof": "strtod with its end checked",
    "system": "spawn_start", "popen": "spawn_start", "alloca": "an array or xmalloc",
    "mktemp": "mkstemp", "tmpnam": "mkstemp", "tempnam": "mkstemp",
    "gmtime": "gmtime_r", "localtime": "localtime_r", "ctime": "clock_rfc3339",
}
# Only for what runs in the agent: tests and the small programs beside it may.
AGENT_BANNED = {
    "fork": "spawn_start", "vfork": "spawn_start", "daemon": "spawn_start",
    "sleep": "a timer", "usleep": "a timer", "nanosleep": "a timer",
    "wait": "spawn_reap", "wait3": "spawn_reap", "wait4": "spawn_reap",
}
# An agent that ends itself ends for everybody: only main and the small programs decide that.
LIBRARY_BANNED = {"exit": "a returned error", "_exit": "a returned error", "printf": "log_write",
                  "puts": "log_write", "perror": "struct err"}
CORE_BANNED = {name: "no allocation, I/O or clock in provider/core" for name in (
    "malloc", "calloc", "realloc", "free", "strdup", "strndup", "xmalloc", "xcalloc", "xrealloc",
    "xstrdup", "xstrndup", "xasprintf", "str_base64", "str_unbase64", "str_random_hex", "fopen",
    "fprintf", "printf", "puts", "open", "read", "write", "time", "clock_gettime", "log_write")}

# Written in two halves, so that this file does not find itself.
WORDS = re.compile(r"\b(TO" "DO|FIX" "ME|X" "XX)\\b")
HOSTS = re.compile(r"(?<![\w-])(" + "|".join(re.escape(h).replace(r"\ ", "") for h in (
    "deb. debian.org", "snapshot. debian.org", "security. debian.org", "archive. ubuntu.com",
    "proxy. golang.org", "sum. golang.org", "goproxy. io", "pypi. org", "files. pythonhosted.org",
    "registry. npmjs.org", "static. crates.io", "index. crates.io", "rubygems. org")) + ")")

# Variables of file scope that are there on purpose, each with its reason.
VARIABLES = {
    ("base/log.c", "threshold"),  # set once by main; an argument would go through every function
}
AGENT_FOLDERS = ("base/", "vmm-bridge/", "runtime/", "provider/", "k8s/")
SMALL_PROGRAMS = ("runtime/shim/", "runtime/host/", "vmm-bridge/fakevmm/")
CODE_FOLDERS = AGENT_FOLDERS + ("tests/",)
API_TABLE = "docs/pod-api.md"
TEXT_ENDINGS = (".c", ".h", ".py", ".sh", ".md", ".go", ".mod", ".yaml", ".yml", ".json", ".txt",
                ".tpl", "Makefile", "Dockerfile", ".S", ".ld", ".in")


class Source:
    """One file: its text, its lines, and for C the lines without comments and literals."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        if self.lines and self.lines[-1] == "":
            self.lines.pop()
        self.is_c = path.endswith((".c", ".h")) and path.startswith(CODE_FOLDERS)
        self.code, self.line_comments = blank(text) if self.is_c else ("", [])
        self.code_lines = self.code.split("\n")

    def within(self, *prefixes):
        return self.path.startswith(prefixes)


def blank(text):
    """Returns text with comments and the insides of literals as spaces, and the lines of // ."""
    out = []
    slashes = []
    pattern = re.compile(r"/\*.*?(?:\*/|\Z)|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'",
                         re.S)
    at = 0
    for match in pattern.finditer(text):
        out.append(text[at:match.start()])
        piece = match.group()
        if piece.startswith("//"):
            slashes.append(text.count("\n", 0, match.start()) + 1)
        if piece[0] in "\"'":
            out.append(piece[0] + " " * (len(piece) - 2) + piece[0])
        else:
            out.append(re.sub(r"[^\n]", " ", piece))
        at = match.end()
    out.append(text[at:])
    return "".join(out), slashes


def longest(table, path):
    found = [prefix for prefix in table if path.startswith(prefix)]
    return max(found, key=len) if found else None


def includes(source):
    for number, line in enumerate(source.lines, 1):
        match = re.match(r"\s*#\s*include\s*([<\"])([^>\"]+)[>\"]", line)
        # Blanking keeps the directive's word: a commented-out one is gone from the code.
        if match and "include" in source.code_lines[number - 1]:
            yield number, match.group(1) == "<", match.group(2)


def check_arrows(source):
    folder = longest(ARROWS, source.path)
    if not source.is_c or folder is None:
        return
    for number, is_system, name in includes(source):
        if is_system:
            continue
        if "/" not in name:
            yield number, f'include "{name}" from the top of the tree'
        elif not name.startswith(tuple(ARROWS[folder])):
            yield number, f"{folder} may not include {name}"


def check_third_party(source):
    if not source.is_c or not source.within(*AGENT_FOLDERS):
        return
    core = source.within("provider/core/")
    for number, is_system, name in includes(source):
        if core and is_system and name not in CORE_SYSTEM:
            yield number, f"provider/core/ may not include <{name}>"
            continue
        for pattern, allowed in THIRD_PARTY:
            if re.match(pattern, name) and not source.path.startswith(tuple(allowed)):
                yield number, f"<{name}> is allowed only in {', '.join(allowed) or 'tests/'}"


def check_opening(source):
    if source.is_c and not source.text.startswith("/*"):
        yield 1, "no opening comment: what the file is for, what not, who calls it"


def check_pragma(source):
    if source.path.endswith(".h") and source.is_c and "#pragma once" not in source.lines:
        yield 1, "no #pragma once"


def check_length(source):
    if source.is_c and len(source.lines) > FILE_LINES_MAX:
        yield FILE_LINES_MAX + 1, f"{len(source.lines)} lines; at most {FILE_LINES_MAX}"


def check_columns(source):
    if not source.is_c:
        return
    for number, line in enumerate(source.lines, 1):
        if len(line.expandtabs(8)) > COLUMNS_MAX:
            yield number, f"{len(line)} columns; at most {COLUMNS_MAX}"
        if "\t" in line:
            yield number, "a tab: indent with spaces"


def check_functions(source):
    """Length from the first line of the declaration to the closing brace."""
    start = None
    first = None
    for number, line in enumerate(source.code_lines, 1):
        if line[:1] == "{":
            start = first or number
        elif line[:1] == "}" and start:
            if number - start + 1 > FUNCTION_LINES_MAX:
                length = number - start + 1
                yield start, f"a function of {length} lines; at most {FUNCTION_LINES_MAX}"
            start = first = None
        elif start is None:
            if not line.strip() or line[:1] in "#}" or line.rstrip().endswith((";", "*/")):
                first = None
            elif first is None and not line[:1].isspace():
                first = number


def check_banned(source):
    # The test guest runs on no libc but its own: none of base/ can be linked into it.
    if not source.is_c or source.within("tests/guests/"):
        return
    banned = dict(BANNED)
    if source.within(*AGENT_FOLDERS) and not source.within(*SMALL_PROGRAMS):
        banned.update(AGENT_BANNED)
        if source.path not in ("provider/main.c", "provider/scaler/main.c"):
            banned.update(LIBRARY_BANNED)
    if source.within("provider/core/"):
        banned.update(CORE_BANNED)
    call = re.compile(r"(?<![\w.>])(" + "|".join(banned) + r")\s*\(")
    for number, line in enumerate(source.code_lines, 1):
        for match in call.finditer(line):
            if line.lstrip().startswith("#define"):
                continue
            yield number, f"{match.group(1)}() is banned: use {banned[match.group(1)]}"


def check_waitpid(source):
    if not source.is_c or not source.within(*AGENT_FOLDERS):
        return
    for number, line in enumerate(source.code_lines, 1):
        if re.search(r"\bwaitpid\s*\(\s*-\s*1\b|\bwaitid\s*\(\s*P_ALL\b", line):
            yield number, "waiting for any child takes other code's children"


def check_assert(source):
    """Asserts contain no work: no assignment, no increment."""
    if not source.is_c or not source.within(*AGENT_FOLDERS):
        return
    for number, line in enumerate(source.code_lines, 1):
        match = re.search(r"(?<!\w)assert\s*\((.*)", line)
        if match and re.search(r"\+\+|--|[^=!<>]=[^=]", match.group(1)):
            yield number, "work inside an assert"


def check_comments(source):
    for number in source.line_comments:
        yield number, "a // comment: write /* */"


def check_variables(source):
    """The fallback where no object is at hand: static or extern data without const."""
    if not source.path.endswith(".c") or not source.within(*AGENT_FOLDERS):
        return
    for number, line in enumerate(source.code_lines, 1):
        match = re.match(r"(\s*)static\s+(?!.*\bconst\b)(?!inline\b)[\w\s*]*?(\w+)\s*"
                         r"(\[[^\]]*\]\s*)*(=[^=]|;)", line)
        if match and (source.path, match.group(2)) not in VARIABLES:
            yield number, f"variable '{match.group(2)}' outlives its function"


def check_words(source):
    for number, line in enumerate(source.lines, 1):
        match = WORDS.search(line)
        if match:
            yield number, f"{match.group()}: do it, or write an issue"


def check_hosts(source):
    for number, line in enumerate(source.lines, 1):
        match = HOSTS.search(line)
        if match:
            yield number, f"{match.group()}: package registries are the machine's business"


CHECKS = [check_arrows, check_third_party, check_opening, check_pragma, check_length, check_columns,
          check_functions, check_banned, check_waitpid, check_assert, check_comments,
          check_variables, check_words, check_hosts]
TEXT_CHECKS = [check_words, check_hosts]


def check_source(source):
    """Returns how many rules held, and [(line, message)] of those that did not, by rule."""
    passed = 0
    failures = []
    for check in CHECKS if source.is_c else TEXT_CHECKS:
        found = list(check(source))
        if found:
            failures.append(found)
        else:
            passed += 1
    return passed, failures


def check_object(path, listing):
    """Writable variables in nm -f sysv's listing of the object made from path."""
    for line in listing.split("\n"):
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 7 or fields[3] != "OBJECT":
            continue
        name, size, section = fields[0].split(".")[0], fields[4], fields[6]
        writable = section.startswith((".data", ".bss", ".tdata", ".tbss", "*COM*"))
        if not writable or section.startswith(".data.rel.ro") or int(size or "0", 16) == 0:
            continue
        if (path, name) not in VARIABLES:
            yield 1, f"variable '{name}' in {section} outlives its function"


def object_listing(path):
    return subprocess.run(["nm", "-f", "sysv", path], check=True, capture_output=True,
                          text=True).stdout


def defines(root, where, name):
    """Whether a test program of the folder has a test function, or a table, of that name."""
    pattern = re.compile(rf"^(?:static )?void {re.escape(name)}\(|^def {re.escape(name)}\(", re.M)
    for path in where:
        with open(os.path.join(root, path), encoding="utf-8") as file:
            if pattern.search(file.read()):
                return True
    return False


def check_api_table(root, names):
    """Each row of the published table names tests, and all of those exist; a row for what has no
    effect has a dash, "the same" is what the row above has. Yields (line, message)."""
    units = [n for n in names if re.fullmatch(r"tests/unit/test_\w+\.c", n)]
    known = {os.path.basename(n) for n in units} | {n for n in names if n.startswith("tests/unit/")} \
        | {os.path.basename(n) for n in names if re.fullmatch(r"tests/e2e/test_\w+\.py", n)}
    with open(os.path.join(root, API_TABLE), encoding="utf-8") as file:
        lines = file.read().splitlines()
    for number, line in enumerate(lines, 1):
        if not line.startswith("| ") or line.startswith("| field |"):
            continue
        cell = re.split(r"(?<!\\)\|", line.strip().strip("|"))[-1].strip()
        if cell in ("test", "—", "the same", "---"):
            continue
        tests = re.findall(r"[A-Za-z_][\w./]*", re.sub(r"\b(?:in|of)\b", " ", cell))
        if not tests:
            yield number, "a row without a test"
        for test in tests:
            if test == "sim" or test in known:
                continue
            if "." in test or not defines(root, units, test):
                yield number, f"there is no test {test}"


def tree_files(root):
    """Paths of the tree's files: git's where there is a repository, else all but build output."""
    try:
        listing = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"], check=True,
            capture_output=True, text=True).stdout
        names = [name for name in listing.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, folders, files in os.walk(root):
            folders[:] = [f for f in folders if not f.startswith((".git", "build"))]
            names += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return sorted(set(name for name in names if os.path.isfile(os.path.join(root, name))))


def main(argv):
    parser = argparse.ArgumentParser(description="house rules for C and text")
    parser.add_argument("--root", default=".")
    parser.add_argument("--objects")
    args = parser.parse_args(argv)
    passed = failed = 0

    def report(path, good, failures):
        nonlocal passed, failed
        passed += good
        failed += len(failures)
        for line, message in sorted(f for found in failures for f in found):
            print(f"{path}:{line}: {message}")

    names = tree_files(args.root)
    if API_TABLE in names:
        found = list(check_api_table(args.root, names))
        report(API_TABLE, int(not found), [found] if found else [])
    for name in names:
        if not name.endswith(TEXT_ENDINGS):
            continue
        try:
            with open(os.path.join(args.root, name), encoding="utf-8", errors="replace") as file:
                source = Source(name, file.read())
        except FileNotFoundError:
            continue  # removed since it was listed
        report(name, *check_source(source))
        made = os.path.join(args.objects or "", name[:-2] + ".o")
        if args.objects and name.startswith(AGENT_FOLDERS) and name.endswith(".c") \
                and os.path.exists(made):
            found = list(check_object(name, object_listing(made)))
            report(name, int(not found), [found] if found else [])
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
