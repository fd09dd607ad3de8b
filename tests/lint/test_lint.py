"""Tests of lint.py: for each rule a small text that breaks it and one that does not.

Run with pytest; the samples live here as text, so that lint.py never meets them as files.
"""
import importlib.util
import os
import shutil
import subprocess

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "lint", os.path.join(os.path.dirname(os.path.abspath(__file__)), "lint.py"))
lint = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(lint)

TOP = "/* what for */\n"


def lines(check, path, text):
    return [line for line, _ in check(lint.Source(path, text))]


@pytest.mark.parametrize("path,header,ok", [
    ("base/a.c", "base/str.h", True),
    ("base/a.c", "runtime/image.h", False),
    ("vmm-bridge/a.c", "base/str.h", True),
    ("vmm-bridge/a.c", "runtime/guest.h", False),
    ("runtime/a.c", "vmm-bridge/vmm.h", True),
    ("runtime/a.c", "k8s/client.h", False),
    ("runtime/a.c", "provider/core/pod.h", False),
    ("k8s/a.c", "provider/core/pod.h", True),
    ("k8s/a.c", "provider/reconcile.h", False),
    ("k8s/a.c", "runtime/logs.h", False),
    ("provider/core/a.c", "provider/core/pod.h", True),
    ("provider/core/a.c", "base/str.h", True),
    ("provider/core/a.c", "base/json.h", False),
    ("provider/core/a.c", "provider/reconcile.h", False),
    ("provider/a.c", "k8s/client.h", True),
    ("provider/a.c", "runtime/logs.h", True),
    ("provider/a.c", "str.h", False),
    ("tests/unit/a.c", "provider/reconcile.h", True),
])
def test_arrows(path, header, ok):
    found = lines(lint.check_arrows, path, TOP + f'#include "{header}"\n')
    assert found == ([] if ok else [2])


@pytest.mark.parametrize("path,header,ok", [
    ("k8s/a.c", "curl/curl.h", True),
    ("runtime/a.c", "curl/curl.h", False),
    ("provider/a.c", "libwebsockets.h", False),
    ("base/digest.c", "openssl/evp.h", True),
    ("base/str.c", "openssl/evp.h", False),
    ("base/json.c", "cjson/cJSON.h", True),
    ("k8s/codec.c", "cjson/cJSON.h", False),
    ("provider/config.c", "yaml.h", False),
    ("provider/core/a.c", "uv.h", False),
    ("provider/core/a.c", "stdlib.h", False),
    ("provider/core/a.c", "unistd.h", False),
    ("provider/core/a.c", "string.h", True),
    ("runtime/a.c", "uv.h", True),
    ("runtime/a.c", "cmocka.h", False),
    ("tests/unit/a.c", "cmocka.h", True),
])
def test_third_party(path, header, ok):
    found = lines(lint.check_third_party, path, TOP + f"#include <{header}>\n")
    assert found == ([] if ok else [2])


def test_include_in_a_comment_does_not_count():
    text = TOP + '/*\n#include "k8s/client.h"\n*/\n'
    assert lines(lint.check_arrows, "runtime/a.c", text) == []


@pytest.mark.parametrize("path,call,ok", [
    ("base/a.c", "sprintf(a, b);", False),
    ("base/a.c", "snprintf(a, 1, b);", True),
    ("base/a.c", "x = strcpy (a, b);", False),
    ("base/a.c", "my_strcpy(a, b);", True),
    ("base/a.c", "ops->system(a);", True),
    ("base/a.c", "system(a);", False),
    ("base/a.c", '"system(a)";', True),
    ("base/a.c", "/* system(a) */", True),
    ("base/a.c", "popen(a, b);", False),
    ("base/a.c", "pid = fork();", False),
    ("runtime/shim/a.c", "pid = fork();", True),
    ("tests/unit/a.c", "pid = fork();", True),
    ("tests/unit/a.c", "strcat(a, b);", False),
    ("runtime/a.c", "sleep(1);", False),
    ("runtime/a.c", "exit(1);", False),
    ("provider/main.c", "exit(1);", True),
    ("provider/core/a.c", "p = malloc(4);", False),
    ("provider/core/a.c", "p = xstrdup(q);", False),
    ("provider/core/a.c", "n = snprintf(p, 1, q);", True),
    ("runtime/a.c", "p = malloc(4);", True),
    ("tests/guests/a.c", "n = atoi(p);", True),
])
def test_banned(path, call, ok):
    text = TOP + "void f(void)\n{\n    " + call + "\n}\n"
    assert lines(lint.check_banned, path, text) == ([] if ok else [4])


def test_waitpid():
    text = "waitpid(pid, &s, 0);\nwaitpid(-1, &s, 0);\nwaitid(P_ALL, 0, &i, 0);\n"
    assert lines(lint.check_waitpid, "runtime/a.c", text) == [2, 3]


@pytest.mark.parametrize("line,ok", [
    ("assert(a == b);", True),
    ("assert(a <= b && c != d);", True),
    ("assert(a = b);", False),
    ("assert(n++ < 3);", False),
    ("static_assert(A == 1, x);", True),
])
def test_assert(line, ok):
    assert lines(lint.check_assert, "base/a.c", line + "\n") == ([] if ok else [1])


def test_function_length():
    def function(body):
        return "static int f(int a,\n             int b)\n{\n" + "    a++;\n" * body + "}\n"

    assert lines(lint.check_functions, "base/a.c", TOP + function(66)) == []
    assert lines(lint.check_functions, "base/a.c", TOP + function(67)) == [2]
    two = TOP + "static int x;\n\n" + function(10) + "\n" + function(67)
    assert lines(lint.check_functions, "base/a.c", two) == [19]
    table = TOP + "static const int t[] = {\n" + "    1,\n" * 200 + "};\n"
    assert lines(lint.check_functions, "base/a.c", table) == []


def test_file_length_and_columns():
    assert lines(lint.check_length, "base/a.c", "x\n" * 600) == []
    assert lines(lint.check_length, "base/a.c", "x\n" * 601) == [601]
    assert lines(lint.check_columns, "base/a.c", "x" * 100 + "\n" + "x" * 101 + "\n") == [2]
    assert lines(lint.check_columns, "base/a.c", "\u20ac" * 100 + "\n") == []
    assert lines(lint.check_columns, "base/a.c", "\tx\n") == [1]
    assert lines(lint.check_length, "docs/a.md", "x\n" * 1000) == []


def test_comments():
    text = 'a // b\n"http://x"\n/* // */\n\'"\'; // c\n'
    assert lines(lint.check_comments, "base/a.c", text) == [1, 4]


def test_opening_and_pragma():
    assert lines(lint.check_opening, "base/a.c", "#include <x.h>\n") == [1]
    assert lines(lint.check_opening, "base/a.c", TOP) == []
    assert lines(lint.check_pragma, "base/a.h", TOP + "#ifndef A\n") == [1]
    assert lines(lint.check_pragma, "base/a.h", TOP + "#pragma once\n") == []
    assert lines(lint.check_pragma, "base/a.c", TOP) == []


@pytest.mark.parametrize("line,ok", [
    ("static int count;", False),
    ("static struct map *map = NULL;", False),
    ("    static char text[10];", False),
    ("static const int a = 1;", True),
    ("static const char *const names[] = {", True),
    ("static int f(int a);", True),
    ("static inline int f(void)", True),
    ("static void f(void);", True),
])
def test_variables_by_text(line, ok):
    assert lines(lint.check_variables, "runtime/a.c", line + "\n") == ([] if ok else [1])


@pytest.mark.skipif(not (shutil.which("cc") and shutil.which("nm")), reason="no compiler")
def test_variables_by_symbols(tmp_path):
    source = tmp_path / "a.c"
    source.write_text("static const char *const t[] = {\"a\", \"b\"};\nconst char *const *p(void)"
                      "{ return t; }\nint *f(void) { static int hidden; return &hidden; }\n"
                      "int shown = 3;\n")
    subprocess.run(["cc", "-fPIE", "-c", "-o", tmp_path / "a.o", source], check=True)
    found = list(lint.check_object("runtime/a.c", lint.object_listing(tmp_path / "a.o")))
    assert len(found) == 2
    assert "'hidden'" in found[0][1] + found[1][1] and "'shown'" in found[0][1] + found[1][1]


def test_the_one_variable_is_allowed():
    listing = "threshold           |0|   b  |            OBJECT|0004|     |.bss\n"
    assert list(lint.check_object("base/log.c", listing)) == []
    assert len(list(lint.check_object("base/err.c", listing))) == 1


def test_words_and_hosts():
    word = "TO" + "DO"
    host = "pypi" + ".org"
    assert lines(lint.check_words, "docs/a.md", f"a\n{word}: b\n") == [2]
    assert lines(lint.check_words, "tests/a.c", '"/tmp/x-' + "X" * 6 + '"\n') == []
    assert lines(lint.check_hosts, "docs/a.md", f"see https://{host}/x\n") == [1]
    assert lines(lint.check_hosts, "docs/a.md", "golang.org/x/net v0.1\n") == []


def test_main(tmp_path, capsys):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "good.c").write_text(TOP + "int f(void);\n")
    assert lint.main(["--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{len(lint.CHECKS)} passed, 0 failed\n"
    (tmp_path / "base" / "bad.c").write_text(TOP + '#include "k8s/client.h"\n// no\n')
    assert lint.main(["--root", str(tmp_path)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "base/bad.c:2: base/ may not include k8s/client.h"
    assert out[1] == "base/bad.c:3: a // comment: write /* */"
    assert out[2] == f"{2 * len(lint.CHECKS) - 2} passed, 2 failed"


def test_api_table(tmp_path):
    for path in ("docs", "tests/unit", "tests/e2e"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "tests/unit/test_a.c").write_text("static void a_table(void **state)\n{\n}\n")
    (tmp_path / "tests/e2e/test_b.py").write_text("")
    (tmp_path / "docs/pod-api.md").write_text(
        "| field | | test |\n|---|---|---|\n"
        "| `a` | one | `a_table` in `tests/unit/test_a.c`, `sim`, test_b.py |\n"
        "| `b` | ignored | — |\n"
        "| `c` | likewise | the same |\n"
        "| `d` | none |  |\n"
        "| `e` | gone | `b_table`, test_a.c |\n"
        "| `f` | gone | test_c.py |\n")
    found = list(lint.check_api_table(str(tmp_path), lint.tree_files(str(tmp_path))))
    assert found == [(6, "a row without a test"), (7, "there is no test b_table"),
                     (8, "there is no test test_c.py")]
