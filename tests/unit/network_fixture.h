/* What both network tests need: namespaces of the test's own, so that no bridge, rule or mount
 * touches the host; a loop that runs until an answer comes; and directories that go afterwards. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/spawn.h"
#include "base/str.h"
#include "runtime/network.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

struct answer {
    bool there;
    int result;
    struct network_result net;
    char error[ERR_TEXT_MAX];
};

struct fixture {
    uv_loop_t loop;
    char root[64];
    char conf_dir[96];
    char bin_dir[96];
    char netns_dir[96];
    char state_dir[96];
    const char *bin_dirs[1];
    struct network_config config;
    struct network *network;
};

/* Fails, loudly, where the test cannot be done: a skipped test of the network proves nothing. */
static void fixture_isolate(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        (void)fprintf(stderr, "NOT TESTED: this test needs root, to make namespaces: %s\n",
                      strerror(errno));
        exit(1);
    }
}

static void fixture_open(struct fixture *f)
{
    struct err err = {.code = 0};

    if (network_open(&f->loop, &f->config, &f->network, &err) < 0)
        fail_msg("%s", err.text);
}

/* As when the agent dies: what is in memory goes, what is on the host stays. */
static void fixture_close(struct fixture *f)
{
    network_close(f->network);
    f->network = NULL;
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
}

static struct fixture *fixture_new(const char *bin_dir, bool has_conf)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    str_copy(f->root, sizeof(f->root), "/tmp/test-network-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    str_fmt(f->conf_dir, sizeof(f->conf_dir), "%s/conf", f->root);
    str_fmt(f->bin_dir, sizeof(f->bin_dir), "%s/bin", f->root);
    str_fmt(f->netns_dir, sizeof(f->netns_dir), "%s/netns", f->root);
    str_fmt(f->state_dir, sizeof(f->state_dir), "%s/state", f->root);
    assert_int_equal(file_mkdirs(f->conf_dir, 0700), 0);
    assert_int_equal(file_mkdirs(f->bin_dir, 0700), 0);
    f->bin_dirs[0] = bin_dir ? bin_dir : f->bin_dir;
    f->config = (struct network_config){.conf_dir = has_conf ? f->conf_dir : NULL,
                                        .bin_dirs = f->bin_dirs,
                                        .bin_dirs_len = 1,
                                        .netns_dir = f->netns_dir,
                                        .state_dir = f->state_dir,
                                        .pod_cidr = "10.99.0.0/24",
                                        .bridge = "unik0"};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    fixture_open(f);
    return f;
}

static void fixture_free(struct fixture *f)
{
    fixture_close(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    (void)umount2(f->netns_dir, MNT_DETACH);
    assert_int_equal(file_remove_tree(f->root), 0);
    free(f);
}

static void on_answer(void *userdata, int result, const struct network_result *net,
                      const char *error)
{
    struct answer *answer = userdata;

    assert_false(answer->there);
    answer->there = true;
    answer->result = result;
    if (net)
        answer->net = *net;
    str_copy(answer->error, sizeof(answer->error), error ? error : "");
}

static void fixture_wait(struct fixture *f, const struct answer *answer)
{
    while (!answer->there)
        (void)uv_run(&f->loop, UV_RUN_ONCE);
}

static inline struct answer fixture_add(struct fixture *f, const struct network_pod *pod)
{
    struct answer answer = {.there = false};

    network_add(f->network, pod, on_answer, &answer);
    assert_false(answer.there);
    fixture_wait(f, &answer);
    return answer;
}

static inline struct answer fixture_del(struct fixture *f, const char *uid)
{
    struct answer answer = {.there = false};

    network_del(f->network, uid, on_answer, &answer);
    assert_false(answer.there);
    fixture_wait(f, &answer);
    return answer;
}

static inline size_t fixture_listed(struct fixture *f)
{
    char **uids;
    size_t len;

    assert_int_equal(network_list(f->network, &uids, &len), 0);
    for (size_t i = 0; i < len; i++)
        free(uids[i]);
    free(uids);
    return len;
}
