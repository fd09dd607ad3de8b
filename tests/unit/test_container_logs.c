/* GET /containerLogs as kubectl logs asks for it: the real HTTPS server, the real reader and real
 * files; the Pods are put into the state that each case is about. Texts and status codes are the
 * kubelet's (getContainerLogs, validateContainerLogStatus). */
#include "server_fixture.h"

#include "base/arena.h"
#include "base/file.h"
#include "provider/machines.h"

#define UID "0b0f5a4e-1111-4222-8333-444455556666"

struct node {
    struct agent agent;
    struct bench bench;
    struct world_ops world;
    uv_prepare_t prepare;
    char dir[64];
    struct pod *pod;
};

static void world_forget(void *world, struct pod *pod)
{
    (void)world;
    (void)pod;
}

static struct now world_now(void *world)
{
    (void)world;
    return (struct now){.mono_ms = clock_mono_ms(), .unix_ms = clock_unix_ms()};
}

/* The agent's loop turns with the server's. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct node *n = prepare->data;
    (void)uv_run(&n->agent.loop, UV_RUN_NOWAIT);
}

static struct pod *add_pod(struct node *n, const char *name, const char *uid, size_t containers)
{
    struct arena *arena = arena_new(1024);
    struct pod_spec *spec = arena_alloc(arena, sizeof(*spec));
    struct container_spec *list = arena_array(arena, 3, sizeof(*list));
    list[0].name = "c";
    list[1].name = "second";
    list[2].name = "init";
    list[0].image = list[1].image = list[2].image = "reg/app:v1";
    *spec = (struct pod_spec){.uid = uid,
                              .ns = "ns",
                              .name = name,
                              .resource_version = "1",
                              .node_name = "uk-0",
                              .dns_policy = "",
                              .containers = list,
                              .containers_len = containers,
                              .init_containers = list + 2,
                              .init_containers_len = 1};
    reconcile_pod(n->agent.reconcile, arena, spec);
    return reconcile_find(n->agent.reconcile, "ns", name);
}

static void write_log(struct node *n, unsigned attempt, const char *text)
{
    char *dir = xasprintf("%s/ns_p_" UID "/c", n->dir);
    char *path = xasprintf("%s/%u.log", dir, attempt);
    struct buf out = BUF_INIT(65536);
    assert_int_equal(file_mkdirs(dir, 0700), 0);
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        (void)buf_addf(&out, "2026-11-23T05:00:0%u.000000000Z stdout F %.*s\n", attempt,
                       (int)strcspn(line, "\n"), line);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    assert_int_equal(fwrite(buf_str(&out), 1, out.len, file), out.len);
    assert_int_equal(fclose(file), 0);
    buf_free(&out);
    free(path);
    free(dir);
}

static int setup(void **state)
{
    static const struct reconcile_config config = {.host_ip = "192.0.2.1"};
    struct node *n = xcalloc(1, sizeof(*n));
    str_copy(n->dir, sizeof(n->dir), "/tmp/test-container-logs-XXXXXX");
    assert_non_null(mkdtemp(n->dir));
    assert_int_equal(uv_loop_init(&n->agent.loop), 0);
    n->agent.config.log_dir = n->dir;
    n->world.forget = world_forget;
    n->world.now = world_now;
    n->agent.reconcile = reconcile_new(&config, &n->world, n);
    n->agent.endpoints = endpoints_new(&n->agent);
    open_bench_for(&n->bench, false, endpoints_handle, n->agent.endpoints);
    (void)uv_prepare_init(&n->bench.loop, &n->prepare);
    n->prepare.data = n;
    (void)uv_prepare_start(&n->prepare, on_prepare);
    n->pod = add_pod(n, "p", UID, 1);
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    struct node *n = *state;
    server_stop(n->bench.server); /* as startup_end does: the streams end before their endpoints */
    n->bench.server = NULL;
    endpoints_free(n->agent.endpoints);
    reconcile_free(n->agent.reconcile);
    uv_close((uv_handle_t *)&n->prepare, NULL);
    (void)uv_run(&n->agent.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&n->agent.loop), 0);
    close_bench(&n->bench);
    assert_int_equal(file_remove_tree(n->dir), 0);
    free(n);
    return 0;
}

static int get(struct node *n, const char *query, char *text, size_t size)
{
    char path[256];
    str_fmt(path, sizeof(path), "/containerLogs/ns/p/c%s", query);
    return one(&n->bench, NULL, NULL, "GET", path, "Bearer token-admin", text, size);
}

/* The body of a chunked answer, put together; NULL when it was cut off. */
static char *unchunk(const char *text)
{
    struct buf out = BUF_INIT(1 << 20);
    for (;;) {
        char *end;
        size_t len = strtoul(text, &end, 16);
        if (end == text || !str_starts(end, "\r\n")) {
            buf_free(&out);
            return NULL;
        }
        if (len == 0)
            return buf_take(&out);
        text = end + 2;
        if (strlen(text) < len + 2) {
            buf_free(&out);
            return NULL;
        }
        (void)buf_add(&out, text, len);
        text += len + 2;
    }
}

static void expect(struct node *n, const char *query, int status, const char *body)
{
    char text[4096];
    int got = get(n, query, text, sizeof(text));
    CLEANUP(free) char *whole = got == 200 ? unchunk(text) : xstrdup(text);
    if (got != status || !str_eq(whole, body))
        fail_msg("%s: %d \"%s\" instead of %d \"%s\"", query, got, whole ? whole : text, status,
                 body);
}

static void set_exit(struct machine_exit *exit, int code, const char *id)
{
    *exit = (struct machine_exit){.valid = true, .exit_code = code};
    str_copy(exit->id, sizeof(exit->id), id);
}

static void test_waiting(void **state)
{
    struct node *n = *state;
    struct container_observed *c = &n->pod->containers[0];
    expect(n, "", 400, "container \"c\" in pod \"p\" is waiting to start: PodInitializing");
    c->machine = MACHINE_STARTING;
    expect(n, "", 400, "container \"c\" in pod \"p\" is waiting to start: PodInitializing");
    c->machine = MACHINE_NONE;
    c->image = IMAGE_FAILED;
    c->image_failures = 1;
    str_copy(c->image_reason, sizeof(c->image_reason), "ErrImagePull");
    expect(n, "", 400, "container \"c\" in pod \"p\" is waiting to start: image can't be pulled");
    c->image_failures = 2;
    expect(n, "", 400,
           "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image");
    expect(n, "?previous=true", 400, "previous terminated container \"c\" in pod \"p\" not found");
    c->image = IMAGE_READY;
    c->machine = MACHINE_FAILED;
    str_copy(c->start_reason, sizeof(c->start_reason), "CreateContainerError");
    str_copy(c->id, sizeof(c->id), "id-0");
    expect(n, "", 400, "container \"c\" in pod \"p\" is waiting to start: CreateContainerError");
    n->pod->refused = true;
    n->pod->refusal = xcalloc(1, sizeof(*n->pod->refusal));
    n->pod->refusal->reason = "CreateContainerConfigError";
    expect(n, "", 400,
           "container \"c\" in pod \"p\" is waiting to start: CreateContainerConfigError");
}

static void test_running(void **state)
{
    struct node *n = *state;
    struct container_observed *c = &n->pod->containers[0];
    c->machine = MACHINE_RUNNING;
    str_copy(c->id, sizeof(c->id), "id-0");
    /* Started, and the console has said nothing; or the file was renamed a moment ago. */
    expect(n, "", 200, "");
    write_log(n, 0, "one\ntwo\nthree\n");
    expect(n, "", 200, "one\ntwo\nthree\n");
    expect(n, "?tailLines=1", 200, "three\n");
    expect(n, "?tailLines=0", 200, "");
    expect(n, "?limitBytes=5", 200, "one\nt");
    expect(n, "?timestamps=true&tailLines=1", 200, "2026-11-23T05:00:00.000000000Z three\n");
    expect(n, "?sinceTime=2026-11-23T05:00:01Z", 200, "");
    expect(n, "?sinceTime=2026-11-23T05:00:00Z", 200, "one\ntwo\nthree\n");
    expect(n, "?sinceTime=2026-11-23T05:00:00.000000001Z", 200, "");
    expect(n, "?sinceSeconds=9223372036854775807", 200, "one\ntwo\nthree\n");
    expect(n, "?previous=true", 400, "previous terminated container \"c\" in pod \"p\" not found");
    c->attempt = 2;
    set_exit(&c->last, 1, "id-1");
    write_log(n, 1, "before\n");
    write_log(n, 2, "now\n");
    expect(n, "", 200, "now\n");
    expect(n, "?previous=true", 200, "before\n");
    expect(n, "?previous=true&follow=true", 200, "before\n");
    expect(n, "?previous=1", 200, "before\n");
    expect(n, "?previous=false", 200, "now\n");
}

static void test_ended(void **state)
{
    struct node *n = *state;
    struct container_observed *c = &n->pod->containers[0];
    write_log(n, 0, "zero\n");
    write_log(n, 1, "one\n");
    c->machine = MACHINE_EXITED;
    str_copy(c->id, sizeof(c->id), "id-0");
    set_exit(&c->exit, 1, "id-0");
    c->crashes = 1; /* its restart is due at once: shown as terminated */
    expect(n, "", 200, "zero\n");
    expect(n, "?follow=true", 200, "zero\n");
    expect(n, "?previous=true", 400, "previous terminated container \"c\" in pod \"p\" not found");
    /* In CrashLoopBackOff its end is the last state: that is the previous one, and all there is. */
    c->crashes = 2;
    expect(n, "", 200, "zero\n");
    expect(n, "?previous=true", 200, "zero\n");
    /* The next one is on its way: lastState is what there is to see. */
    c->attempt = 1;
    c->machine = MACHINE_STARTING;
    c->last = c->exit;
    c->exit.valid = false;
    str_copy(c->id, sizeof(c->id), "id-1");
    expect(n, "", 200, "zero\n");
    expect(n, "?previous=true", 200, "zero\n");
    /* It cannot be launched: no attempt that left a log. */
    c->machine = MACHINE_FAILED;
    str_copy(c->start_reason, sizeof(c->start_reason), "CreateContainerError");
    expect(n, "", 200, "zero\n");
    /* It ran and crashed too. */
    c->machine = MACHINE_EXITED;
    c->crashes = 3;
    set_exit(&c->exit, 2, "id-1");
    expect(n, "", 200, "one\n");
    expect(n, "?previous=true", 200, "one\n");
    /* An end that left no id. */
    set_exit(&c->exit, 2, "");
    c->last.valid = false;
    expect(n, "", 400, "container \"c\" in pod \"p\" is terminated");
    /* A former agent's, found and not heard of yet. */
    c->exit.valid = false;
    c->machine = MACHINE_STARTING;
    n->pod->adopting = true;
    expect(n, "", 200, "one\n");
}

/* Nothing that is asked changes what will be reported. */
static void test_no_trace(void **state)
{
    struct node *n = *state;
    n->pod->containers[0].machine = MACHINE_RUNNING;
    struct pod_observed before = n->pod->obs;
    struct container_observed container = n->pod->containers[0];
    expect(n, "", 200, "");
    assert_memory_equal(&before, &n->pod->obs, sizeof(before));
    assert_memory_equal(&container, &n->pod->containers[0], sizeof(container));
}

static void test_wrong(void **state)
{
    static const struct {
        const char *method, *path;
        int status;
        const char *text;
    } rows[] = {
        {"GET", "/containerLogs/ns/q/c", 404, "pod \"q\" does not exist"},
        {"GET", "/containerLogs/other/p/c", 404, "pod \"p\" does not exist"},
        {"GET", "/containerLogs/ns/p/x", 404, "container \"x\" not found in pod \"p\""},
        {"GET", "/containerLogs/ns/p/init", 400, "container \"init\" in pod \"p\" is terminated"},
        {"GET", "/containerLogs/ns/two/init", 400,
         "container \"init\" in pod \"two\" is waiting to start: PodInitializing"},
        {"GET", "/containerLogs/ns/two/second", 400,
         "container \"second\" in pod \"two\" is waiting to start: PodInitializing"},
        {"GET", "/containerLogs/ns/p", 404, "404: Page Not Found"},
        {"GET", "/containerLogs/ns/p/c/d", 404, "404: Page Not Found"},
        {"GET", "/containerLogs/a/b/c/d/e/f/g/h/i/j", 404, "404: Page Not Found"},
        {"GET", "/containerLogs/ns/p/c?tailLines=x", 400, "tailLines must be a number, 0 or more"},
        {"GET", "/containerLogs/ns/p/c?tailLines=", 400, "tailLines must be a number, 0 or more"},
        {"GET", "/containerLogs/ns/p/c?tailLines=-1", 422, "tailLines must be a number, 0 or more"},
        {"GET", "/containerLogs/ns/p/c?limitBytes=1e3", 400,
         "limitBytes must be a number, 1 or more"},
        {"GET", "/containerLogs/ns/p/c?limitBytes=0", 422,
         "limitBytes must be a number, 1 or more"},
        {"GET", "/containerLogs/ns/p/c?sinceSeconds=0", 422,
         "sinceSeconds must be a number, 1 or more"},
        {"GET", "/containerLogs/ns/p/c?sinceSeconds=99999999999999999999", 400,
         "sinceSeconds must be a number, 1 or more"},
        {"GET", "/containerLogs/ns/p/c?sinceTime=yesterday", 400,
         "sinceTime must be an RFC 3339 time"},
        {"GET", "/containerLogs/ns/p/c?sinceSeconds=1&sinceTime=2026-11-23T05:00:00Z", 422,
         "at most one of sinceTime or sinceSeconds may be specified"},
        {"POST", "/containerLogs/ns/p/c", 405, "405: Method Not Allowed"},
        {"DELETE", "/containerLogs/ns/p/c", 405, "405: Method Not Allowed"},
    };
    struct node *n = *state;
    (void)add_pod(n, "two", "other-uid", 2);
    n->pod->containers[0].machine = MACHINE_RUNNING;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[1024];
        int status = one(&n->bench, NULL, NULL, rows[i].method, rows[i].path, "Bearer token-admin",
                         text, sizeof(text));
        if (status != rows[i].status || !str_eq(text, rows[i].text))
            fail_msg("%s: %d \"%s\"", rows[i].path, status, text);
    }
    struct client c;
    client_open(&c, &n->bench, NULL, NULL);
    client_text(&c, "PUT /containerLogs/ns/p/c HTTP/1.1\r\nContent-Length: 0\r\n" AS_ADMIN "\r\n");
    assert_int_equal(client_status(&c), 405);
    assert_non_null(strstr(buf_str(&c.in), "\r\nAllow: GET\r\n"));
    client_close(&c);
}

/* The log cannot be opened. */
static void test_unreadable(void **state)
{
    struct node *n = *state;
    n->pod->containers[0].machine = MACHINE_RUNNING;
    CLEANUP(free) char *dir = xasprintf("%s/ns_p_" UID "/c", n->dir);
    CLEANUP(free) char *path = xasprintf("%s/0.log", dir);
    assert_int_equal(file_mkdirs(dir, 0700), 0);
    assert_int_equal(symlink("0.log", path), 0);
    expect(n, "", 500, "the log of pod \"p\" cannot be read: Too many levels of symbolic links");
}

static void follow(struct node *n, struct client *c)
{
    n->pod->containers[0].machine = MACHINE_RUNNING;
    client_open(c, &n->bench, NULL, NULL);
    client_text(c, "GET /containerLogs/ns/p/c?follow=true HTTP/1.1\r\n" AS_ADMIN "\r\n");
    /* kubectl logs -f hangs without a head. */
    assert_true(client_expect(c, "Transfer-Encoding: chunked\r\n\r\n"));
    assert_non_null(strstr(buf_str(&c->in), "Content-Type: text/plain\r\n"));
}

static void test_follow(void **state)
{
    struct node *n = *state;
    struct client c;
    follow(n, &c); /* before there is a file */
    write_log(n, 0, "one\n");
    assert_true(client_expect(&c, "one\n"));
    write_log(n, 0, "two\n");
    assert_true(client_expect(&c, "two\n"));
    endpoints_container_ended(n->agent.endpoints, "another-uid");
    write_log(n, 0, "three\n");
    assert_true(client_expect(&c, "three\n"));
    write_log(n, 0, "last words\n");
    endpoints_container_ended(n->agent.endpoints, UID);
    assert_true(client_expect(&c, "\r\n0\r\n\r\n"));
    assert_non_null(strstr(buf_str(&c.in), "last words\n"));
    endpoints_container_ended(n->agent.endpoints, UID); /* nobody is left */
    client_close(&c);
}

static void test_fails_midway(void **state)
{
    struct node *n = *state;
    struct client c;
    CLEANUP(free) char *path = xasprintf("%s/ns_p_" UID "/c/0.log", n->dir);
    CLEANUP(free) char *old = xasprintf("%s.1", path);
    write_log(n, 0, "one\n");
    follow(n, &c);
    assert_true(client_expect(&c, "one\n"));
    assert_int_equal(rename(path, old), 0);
    assert_int_equal(file_mkdirs(path, 0700), 0); /* opens, and cannot be read */
    assert_true(client_eof(&c));
    assert_null(strstr(buf_str(&c.in), "0\r\n\r\n")); /* no claim that this was all */
    client_close(&c);
}

/* Clients that go, and a server that stops, under streams. */
static void test_gone(void **state)
{
    struct node *n = *state;
    struct client a, b;
    write_log(n, 0, "one\n");
    follow(n, &a);
    follow(n, &b);
    assert_true(client_expect(&a, "one\n"));
    client_close(&a);
    for (int i = 0; i < 50; i++)
        spin(&n->bench);
    write_log(n, 0, "two\n");
    assert_true(client_expect(&b, "two\n"));
    client_close(&b); /* teardown stops the server before it notices */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_waiting),  TEST(test_running),      TEST(test_ended),
        TEST(test_no_trace), TEST(test_wrong),        TEST(test_unreadable),
        TEST(test_follow),   TEST(test_fails_midway), TEST(test_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
