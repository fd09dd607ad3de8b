/* The activator on loopback: clients and a Pod that are real sockets on the loop of the code under
 * test. What is held is carried when a Pod answers, whatever happened before; limits end
 * connections as they say; nothing is left. A seed gives thousands of different orders. */
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "provider/scaler/activator.h"
#include "provider/scaler/scaler.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENTS_MAX 40
#define BODY_MAX 200000
#define GUARD_MS 60000u
#define SEEDS 100u

struct bench;

struct client {
    struct bench *bench;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct buf got;
    size_t body_len;
    bool leaves; /* goes away without waiting */
    bool open, done;
    int result; /* 0: it ended properly */
};

struct backend {
    uv_tcp_t tcp;
    uv_write_t write;
    uv_shutdown_t shutdown;
    char *data;
};

struct bench {
    struct scaler scaler;
    struct activator *activator;
    struct holder *holder;
    uv_tcp_t pod;
    uv_timer_t guard, soon;
    uint16_t data_port, pod_port;
    bool ready; /* target() has an answer */
    unsigned changes;
    struct client clients[CLIENTS_MAX];
    size_t clients_len, left;
    char *body;
    uint64_t seed;
};

static unsigned roll(struct bench *b, unsigned n)
{
    b->seed = b->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(b->seed >> 33) % n;
}

static void on_change(void *userdata)
{
    ((struct bench *)userdata)->changes++;
}

static bool target(void *userdata, size_t port, struct sockaddr_in *ret)
{
    struct bench *b = userdata;
    assert_int_equal(port, 0);
    if (!b->ready)
        return false;
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(b->pod_port)};
    ret->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return true;
}

static const struct holder_ops ops = {.on_change = on_change, .target = target};

static void on_guard(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("nothing more happens");
}

/* ---- the Pod: sends back what it gets, and ends after its peer ---- */

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    (void)handle;
    *ret = uv_buf_init(malloc(size), (unsigned)size);
}

static void backend_closed(uv_handle_t *handle)
{
    free(handle->data);
}

struct echo {
    uv_write_t write;
    char *data;
};

static void on_echoed(uv_write_t *write, int status)
{
    struct echo *echo = write->data;
    (void)status;
    free(echo->data);
    free(echo);
}

static void on_backend_shut(uv_shutdown_t *shutdown, int status)
{
    struct backend *backend = shutdown->data;
    (void)status;
    if (!uv_is_closing((uv_handle_t *)&backend->tcp))
        uv_close((uv_handle_t *)&backend->tcp, backend_closed);
}

static void on_backend_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
    struct backend *backend = stream->data;
    if (n > 0) {
        struct echo *echo = malloc(sizeof(*echo));
        uv_buf_t out = uv_buf_init(data->base, (unsigned)n);
        echo->data = data->base;
        echo->write.data = echo;
        if (uv_write(&echo->write, stream, &out, 1, on_echoed) < 0)
            on_echoed(&echo->write, 0);
        return;
    }
    free(data->base);
    if (n == 0 || uv_is_closing((uv_handle_t *)stream))
        return;
    backend->shutdown.data = backend;
    (void)uv_read_stop(stream);
    if (n != UV_EOF || uv_shutdown(&backend->shutdown, stream, on_backend_shut) < 0)
        uv_close((uv_handle_t *)stream, backend_closed);
}

static void on_pod_connection(uv_stream_t *listener, int status)
{
    struct backend *backend = calloc(1, sizeof(*backend));
    assert_int_equal(status, 0);
    assert_int_equal(uv_tcp_init(listener->loop, &backend->tcp), 0);
    backend->tcp.data = backend;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&backend->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&backend->tcp, on_alloc, on_backend_read), 0);
}

static void pod_bind(struct bench *b)
{
    struct sockaddr_in at;
    int len = sizeof(at);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &at), 0);
    assert_int_equal(uv_tcp_init(&b->scaler.loop, &b->pod), 0);
    assert_int_equal(uv_tcp_bind(&b->pod, (const struct sockaddr *)&at, 0), 0);
    assert_int_equal(uv_tcp_getsockname(&b->pod, (struct sockaddr *)&at, &len), 0);
    b->pod_port = ntohs(at.sin_port);
}

static void pod_listen(struct bench *b)
{
    assert_int_equal(uv_listen((uv_stream_t *)&b->pod, 128, on_pod_connection), 0);
}

/* ---- clients ---- */

static void finish(struct client *client, int result);

static void client_closed(uv_handle_t *handle)
{
    struct client *client = handle->data;
    client->done = true;
    if (--client->bench->left == 0)
        uv_stop(handle->loop);
}

static void finish(struct client *client, int result)
{
    if (uv_is_closing((uv_handle_t *)&client->tcp))
        return;
    client->result = result;
    uv_close((uv_handle_t *)&client->tcp, client_closed);
}

static void on_client_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
    struct client *client = stream->data;
    if (n > 0)
        (void)buf_add(&client->got, data->base, (size_t)n);
    free(data->base);
    if (n < 0)
        finish(client, n == UV_EOF ? 0 : (int)n);
}

static void on_client_shut(uv_shutdown_t *shutdown, int status)
{
    (void)shutdown;
    (void)status;
}

static void on_client_wrote(uv_write_t *write, int status)
{
    struct client *client = write->data;
    if (status < 0 || uv_is_closing((uv_handle_t *)&client->tcp))
        return;
    (void)uv_shutdown(&client->shutdown, (uv_stream_t *)&client->tcp, on_client_shut);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct client *client = connect->data;
    struct bench *b = client->bench;
    if (status < 0) {
        finish(client, status);
        return;
    }
    client->open = true;
    if (client->leaves) {
        finish(client, 0);
        return;
    }
    uv_buf_t out = uv_buf_init(b->body, (unsigned)client->body_len);
    client->write.data = client;
    assert_int_equal(uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_client_read), 0);
    assert_int_equal(
        uv_write(&client->write, (uv_stream_t *)&client->tcp, &out, 1, on_client_wrote), 0);
}

static void client_start(struct bench *b, size_t body_len, bool leaves)
{
    struct client *client = &b->clients[b->clients_len++];
    struct sockaddr_in to;
    *client = (struct client){
        .bench = b, .body_len = body_len, .leaves = leaves, .got = BUF_INIT(2 * BODY_MAX)};
    b->left++;
    assert_int_equal(uv_tcp_init(&b->scaler.loop, &client->tcp), 0);
    client->tcp.data = client->connect.data = client;
    assert_int_equal(uv_ip4_addr("127.0.0.1", b->data_port, &to), 0);
    assert_int_equal(
        uv_tcp_connect(&client->connect, &client->tcp, (const struct sockaddr *)&to, on_connected),
        0);
}

/* ---- the bench ---- */

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct err err = {0};
    static char address[] = "127.0.0.1";
    assert_int_equal(uv_loop_init(&b->scaler.loop), 0);
    b->scaler.config = (struct scaler_config){.address = address,
                                              .data_port = 21000,
                                              .data_ports = 40000,
                                              .held_max = 1000,
                                              .held_service_max = 1000,
                                              .held_bytes = 16384,
                                              .hold_seconds = 60};
    b->activator = activator_start(&b->scaler);
    b->holder = holder_new(b->activator, &ops, b);
    assert_int_equal(holder_listen(b->holder, 0, false, &b->data_port, &err), 0);
    assert_int_equal(uv_timer_init(&b->scaler.loop, &b->guard), 0);
    assert_int_equal(uv_timer_init(&b->scaler.loop, &b->soon), 0);
    b->soon.data = b;
    assert_int_equal(uv_timer_start(&b->guard, on_guard, GUARD_MS, 0), 0);
    b->body = malloc(BODY_MAX);
    for (size_t i = 0; i < BODY_MAX; i++)
        b->body[i] = (char)('a' + i % 23);
    pod_bind(b);
    *state = b;
    return 0;
}

static void close_walk(uv_handle_t *handle, void *userdata)
{
    (void)userdata;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static int teardown(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < b->clients_len; i++)
        buf_free(&b->clients[i].got);
    holder_free(b->holder);
    uv_close((uv_handle_t *)&b->guard, NULL);
    uv_close((uv_handle_t *)&b->soon, NULL);
    uv_close((uv_handle_t *)&b->pod, NULL);
    (void)uv_run(&b->scaler.loop, UV_RUN_DEFAULT); /* connections at the Pod end with their peers */
    uv_walk(&b->scaler.loop, close_walk, NULL);
    (void)uv_run(&b->scaler.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->scaler.loop), 0);
    struct activator_counts counts;
    activator_count(b->activator, &counts);
    assert_int_equal(counts.held + counts.relayed, 0);
    activator_stop(b->activator);
    free(b->body);
    free(b);
    return 0;
}

static void wait_held(struct bench *b, uint32_t count)
{
    while (holder_held(b->holder) != count)
        (void)uv_run(&b->scaler.loop, UV_RUN_ONCE);
}

static void wait_clients(struct bench *b)
{
    if (b->left)
        (void)uv_run(&b->scaler.loop, UV_RUN_DEFAULT);
    assert_int_equal(b->left, 0);
}

static void expect_echo(const struct bench *b, const struct client *client)
{
    assert_int_equal(client->result, 0);
    assert_int_equal(client->got.len, client->body_len);
    assert_memory_equal(client->got.data, b->body, client->body_len);
}

static void test_hold_and_carry(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 20; i++)
        client_start(b, 5 + (size_t)i * 9000, false); /* some more than is taken at once */
    wait_held(b, 20);
    assert_true(b->changes > 0);
    b->ready = true;
    pod_listen(b);
    holder_release(b->holder);
    wait_clients(b);
    for (size_t i = 0; i < 20; i++)
        expect_echo(b, &b->clients[i]);
    assert_int_equal(holder_held(b->holder), 0);
    while (holder_relayed(b->holder))
        (void)uv_run(&b->scaler.loop, UV_RUN_ONCE);
}

static void on_soon_listen(uv_timer_t *timer)
{
    pod_listen(timer->data);
}

/* Ready, but the guest's server is not up: refused again and again, then carried. */
static void test_guest_that_boots(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 10; i++)
        client_start(b, 100, false);
    wait_held(b, 10);
    b->ready = true;
    holder_release(b->holder);
    assert_int_equal(uv_timer_start(&b->soon, on_soon_listen, 150, 0), 0);
    wait_clients(b);
    for (size_t i = 0; i < 10; i++)
        expect_echo(b, &b->clients[i]);
}

static void test_limits(void **state)
{
    struct bench *b = *state;
    struct activator_counts counts;
    b->scaler.config.held_service_max = 3;
    for (int i = 0; i < 3; i++)
        client_start(b, 10, false);
    wait_held(b, 3);
    client_start(b, 10, false);
    while (!b->clients[3].done)
        (void)uv_run(&b->scaler.loop, UV_RUN_ONCE);
    assert_true(b->clients[3].result < 0); /* reset */
    activator_count(b->activator, &counts);
    assert_int_equal(counts.refused_total, 1);
    assert_int_equal(counts.accepted_total, 4);
    assert_int_equal(holder_held(b->holder), 3);
    b->ready = true;
    pod_listen(b);
    holder_release(b->holder);
    wait_clients(b);
    for (size_t i = 0; i < 3; i++)
        expect_echo(b, &b->clients[i]);
}

static void test_time_over(void **state)
{
    struct bench *b = *state;
    struct activator_counts counts;
    holder_configure(b->holder, &(struct holder_config){.hold_ms = 50});
    client_start(b, 10, false);
    wait_clients(b);
    assert_int_equal(b->clients[0].result, UV_ECONNRESET);
    holder_configure(b->holder, &(struct holder_config){.hold_ms = 50, .http = true});
    client_start(b, 10, false);
    wait_clients(b);
    assert_int_equal(b->clients[1].result, 0);
    const char *got = buf_str(&b->clients[1].got);
    assert_true(str_starts(got, "HTTP/1.1 503 Service Unavailable\r\n"));
    assert_non_null(strstr(got, "Content-Length: 38\r\n"));
    assert_int_equal(strlen(strstr(got, "\r\n\r\n") + 4), 38);
    activator_count(b->activator, &counts);
    assert_int_equal(counts.timed_out_total, 2);
}

static void test_clients_leave(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 10; i++)
        client_start(b, 0, true);
    wait_clients(b);
    client_start(b, 10, false);
    wait_held(b, 1); /* and nobody else */
    b->ready = true;
    pod_listen(b);
    holder_release(b->holder);
    wait_clients(b);
    expect_echo(b, &b->clients[10]);
}

/* A UDP Pod on loopback that answers each datagram with itself. */
static void test_datagrams(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct sockaddr_in from;
    struct sockaddr_in pod = {.sin_family = AF_INET};
    socklen_t len = sizeof(pod);
    uint16_t port;
    char data[64];
    to.sin_addr.s_addr = pod.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server, (const struct sockaddr *)&pod, sizeof(pod)), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&pod, &len), 0);
    holder_free(b->holder);
    b->holder = holder_new(b->activator, &ops, b);
    assert_int_equal(holder_listen(b->holder, 0, true, &port, &err), 0);
    to.sin_port = htons(port);
    for (int i = 0; i < 12; i++) { /* four more than are kept */
        data[0] = (char)('a' + i);
        assert_int_equal(sendto(client, data, 1, 0, (const struct sockaddr *)&to, sizeof(to)), 1);
    }
    wait_held(b, 1); /* one client */
    b->ready = true;
    b->pod_port = ntohs(pod.sin_port);
    holder_release(b->holder);
    assert_int_equal(holder_held(b->holder), 0);
    assert_int_equal(holder_relayed(b->holder), 1);
    for (int i = 0; i < 8; i++) {
        len = sizeof(from);
        assert_int_equal(recvfrom(server, data, sizeof(data), 0, (struct sockaddr *)&from, &len),
                         1);
        assert_int_equal(data[0], 'a' + i);
    }
    assert_int_equal(recv(server, data, sizeof(data), MSG_DONTWAIT), -1);
    assert_int_equal(sendto(server, "answer", 6, 0, (const struct sockaddr *)&from, len), 6);
    ssize_t n;
    while ((n = recv(client, data, sizeof(data), MSG_DONTWAIT)) < 0)
        (void)uv_run(&b->scaler.loop, UV_RUN_ONCE);
    assert_int_equal(n, 6);
    assert_memory_equal(data, "answer", 6);
    close(server);
    close(client);
}

static void one_seed(struct bench *b)
{
    bool listening = false;
    while (b->clients_len < CLIENTS_MAX || !listening) {
        switch (roll(b, 12)) {
        case 0:
            b->ready = !b->ready;
            break;
        case 1:
            if (!listening && b->clients_len > CLIENTS_MAX / 2) {
                listening = true;
                pod_listen(b);
            }
            break;
        case 2:
            holder_release(b->holder);
            break;
        case 3:
        case 4:
            (void)uv_run(&b->scaler.loop, UV_RUN_NOWAIT);
            break;
        default:
            if (b->clients_len < CLIENTS_MAX)
                client_start(b, 1 + roll(b, roll(b, 4) ? 500 : BODY_MAX - 1), roll(b, 8) == 0);
        }
    }
    b->ready = true;
    holder_release(b->holder);
    wait_clients(b);
    for (size_t i = 0; i < b->clients_len; i++) {
        if (!b->clients[i].leaves)
            expect_echo(b, &b->clients[i]);
    }
}

/* Pods that come and go, clients that leave, in any order: who waits is answered. */
static void test_any_order(void **state)
{
    (void)state;
    const char *only = getenv("SEED");
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        void *one = NULL;
        setup(&one);
        ((struct bench *)one)->seed = only ? strtoull(only, NULL, 10) : seed;
        one_seed(one);
        teardown(&one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hold_and_carry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guest_that_boots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clients_leave, setup, teardown),
        cmocka_unit_test_setup_teardown(test_datagrams, setup, teardown),
        cmocka_unit_test(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
