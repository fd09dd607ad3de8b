/* Putting one question on a loop, and what came of it: for test_probe_call and test_probe_grpc. */
#pragma once

#include "fake_api.h"

#include "base/cleanup.h"
#include "k8s/probe_call.h"
#include "provider/core/pod.h"

#include <sys/socket.h>
#include <unistd.h>

struct seen {
    bool done;
    unsigned calls;
    enum probe_outcome outcome;
    bool unheard, plain_http;
    char result[16], text[PROBE_TEXT_MAX];
};

static inline void on_answer(void *userdata, const struct probe_answer *answer)
{
    struct seen *seen = userdata;

    seen->done = true;
    seen->calls++;
    seen->outcome = answer->outcome;
    seen->unheard = answer->unheard;
    seen->plain_http = answer->plain_http;
    (void)str_copy(seen->result, sizeof(seen->result), answer->result ? answer->result : "");
    (void)str_copy(seen->text, sizeof(seen->text), answer->text);
}

static inline struct seen ask(struct fake *fake, const struct handler *handler, int port,
                              uint32_t ms)
{
    struct probe_caller *caller = probe_caller_new(&fake->loop);
    struct probe_question question = {
        .handler = handler, .host = "127.0.0.1", .port = (uint16_t)port, .timeout_ms = ms};
    struct seen seen = {0};

    assert_non_null(caller);
    (void)probe_call(caller, &question, on_answer, &seen);
    assert_false(seen.done);
    assert_true(fake_run(fake, &seen.done, 20000));
    assert_int_equal(seen.calls, 1);
    probe_caller_free(caller);
    return seen;
}

/* A port that nobody listens on, for as long as the socket is open. */
static inline int deaf_port(int *ret_fd)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *ret_fd = fd;
    return ntohs(addr.sin_port);
}
