/* Tests of runtime/flows.c: what is counted as a connection, what ends one, what an agent finds
 * again; and a long random run against a simple model. */
#include "runtime/flows.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10
#define POD "10.88.0.5"
#define PEER "10.88.0.1"
#define T0 100000000u

struct side {
    const char *ip;
    uint16_t port;
};

static size_t build(uint8_t *data, struct side from, struct side to, uint8_t flags)
{
    memset(data, 0, 54);
    data[12] = 8;
    data[14] = 0x45;
    data[23] = 6;
    assert_int_equal(inet_pton(AF_INET, from.ip, data + 26), 1);
    assert_int_equal(inet_pton(AF_INET, to.ip, data + 30), 1);
    data[34] = (uint8_t)(from.port >> 8);
    data[35] = (uint8_t)from.port;
    data[36] = (uint8_t)(to.port >> 8);
    data[37] = (uint8_t)to.port;
    data[47] = flags;
    return 54;
}

static bool feed(struct flows *f, struct side from, struct side to, uint8_t flags, uint64_t now)
{
    uint8_t data[64];
    struct in_addr pod;
    size_t len = build(data, from, to, flags);
    assert_int_equal(inet_pton(AF_INET, POD, &pod), 1);
    return flows_packet(f, data, len, pod.s_addr, now);
}

static bool in(struct flows *f, uint16_t port, uint8_t flags, uint64_t now)
{
    return feed(f, (struct side){PEER, port}, (struct side){POD, 8080}, flags, now);
}

static bool out(struct flows *f, uint16_t port, uint8_t flags, uint64_t now)
{
    return feed(f, (struct side){POD, 8080}, (struct side){PEER, port}, flags, now);
}

static void expect(const struct flows *f, uint64_t connections, uint32_t open, uint32_t used)
{
    assert_int_equal(f->connections, connections);
    assert_int_equal(f->open, open);
    assert_int_equal(f->used, used);
}

static int setup(void **state)
{
    struct flows *f = malloc(sizeof(*f));
    flows_init(f, 7);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void test_life(void **state)
{
    struct flows *f = *state;
    assert_true(in(f, 1000, SYN, T0));
    expect(f, 0, 0, 1); /* knocked */
    assert_true(in(f, 1000, SYN, T0 + 1000));
    assert_true(out(f, 1000, SYN | ACK, T0 + 1001));
    expect(f, 1, 1, 1);
    assert_true(out(f, 1000, SYN | ACK, T0 + 1002)); /* said again */
    assert_true(in(f, 1000, ACK, T0 + 1003));        /* a sample */
    expect(f, 1, 1, 1);
    assert_true(in(f, 1000, FIN | ACK, T0 + 2000));
    expect(f, 1, 1, 1); /* the answer may still flow */
    assert_true(out(f, 1000, FIN | ACK, T0 + 2001));
    expect(f, 1, 0, 0);
    assert_int_equal(f->used_ms, T0 + 2001);
    assert_false(in(f, 1000, ACK, T0 + 2002));
    assert_int_equal(f->used_ms, T0 + 2001);
}

static void test_reset_and_reuse(void **state)
{
    struct flows *f = *state;
    in(f, 1000, SYN, T0);
    out(f, 1000, RST | ACK, T0 + 1); /* refused */
    expect(f, 0, 0, 0);
    in(f, 1000, SYN, T0);
    out(f, 1000, SYN | ACK, T0 + 1);
    in(f, 1000, RST, T0 + 2);
    expect(f, 1, 0, 0);
    in(f, 1000, SYN, T0 + 3);
    out(f, 1000, SYN | ACK, T0 + 4);
    in(f, 1000, SYN, T0 + 5); /* its end was missed */
    expect(f, 2, 0, 1);
    out(f, 1000, SYN | ACK, T0 + 6);
    expect(f, 3, 1, 1);
    out(f, 2000, SYN | ACK, T0 + 7); /* the knock was missed */
    expect(f, 4, 2, 2);
    flows_clear(f);
    expect(f, 4, 0, 0);
}

static void test_not_counted(void **state)
{
    struct flows *f = *state;
    uint8_t data[64];
    /* The Pod's own connection to a database. */
    assert_false(feed(f, (struct side){POD, 40000}, (struct side){PEER, 5432}, SYN, T0));
    assert_false(feed(f, (struct side){PEER, 5432}, (struct side){POD, 40000}, SYN | ACK, T0));
    assert_false(feed(f, (struct side){PEER, 5432}, (struct side){POD, 40000}, FIN | ACK, T0));
    /* Not for this Pod. */
    assert_false(feed(f, (struct side){PEER, 1}, (struct side){"10.88.0.9", 80}, SYN, T0));
    size_t len = build(data, (struct side){PEER, 1}, (struct side){POD, 80}, SYN);
    uint32_t pod = inet_addr(POD);
    for (size_t cut = 0; cut < 48; cut++)
        assert_false(flows_packet(f, data, cut, pod, T0));
    data[20] = 0x00;
    data[21] = 0x01; /* a later fragment */
    assert_false(flows_packet(f, data, len, pod, T0));
    data[21] = 0;
    data[14] = 0x44; /* no IPv4 header is so short */
    assert_false(flows_packet(f, data, len, pod, T0));
    expect(f, 0, 0, 0);
    assert_int_equal(f->used_ms, 0);
}

static void test_time(void **state)
{
    struct flows *f = *state;
    in(f, 1, SYN, T0);
    in(f, 2, SYN, T0);
    out(f, 2, SYN | ACK, T0);
    in(f, 3, SYN, T0);
    out(f, 3, SYN | ACK, T0);
    in(f, 3, FIN, T0);
    flows_expire(f, T0 + FLOW_SYN_MS);
    expect(f, 2, 2, 3);
    flows_expire(f, T0 + FLOW_SYN_MS + 1000);
    expect(f, 2, 2, 2); /* nobody answered */
    flows_expire(f, T0 + FLOW_DOUBT_MS + 1000);
    expect(f, 2, 1, 1); /* half closed */
    flows_expire(f, T0 + FLOW_SILENT_MS - 1000);
    expect(f, 2, 1, 1);
    in(f, 2, ACK, T0 + FLOW_SILENT_MS - 1000); /* a sign */
    flows_expire(f, T0 + FLOW_SILENT_MS + 1000);
    expect(f, 2, 1, 1);
    flows_expire(f, T0 + 2 * (uint64_t)FLOW_SILENT_MS);
    expect(f, 2, 0, 0);
}

static void test_adopt(void **state)
{
    struct flows *f = *state;
    for (uint16_t port = 1; port <= 100; port++) {
        in(f, port, SYN, T0);
        out(f, port, SYN | ACK, T0);
    }
    f->open = 77; /* killed between two writes */
    f->used = 3;
    assert_true(flows_adopt(f, T0 + 5000));
    expect(f, 100, 100, 100);
    in(f, 1, ACK, T0 + 6000);
    /* What ended meanwhile was not seen: it is believed for a while. */
    flows_expire(f, T0 + FLOW_DOUBT_MS - 1000);
    expect(f, 100, 100, 100);
    flows_expire(f, T0 + 5000 + FLOW_DOUBT_MS + 2000);
    expect(f, 100, 1, 1);
    assert_false(flows_adopt(f, T0)); /* another boot's clock */
    f->magic++;
    assert_false(flows_adopt(f, T0 + 9000));
}

static void test_full(void **state)
{
    struct flows *f = *state;
    for (unsigned port = 1; port <= FLOWS_USED_MAX + 500; port++) {
        in(f, (uint16_t)port, SYN, T0);
        out(f, (uint16_t)port, SYN | ACK, T0);
    }
    expect(f, FLOWS_USED_MAX + 500, FLOWS_USED_MAX, FLOWS_USED_MAX);
    for (unsigned port = 1; port <= FLOWS_USED_MAX + 500; port++)
        in(f, (uint16_t)port, RST, T0);
    expect(f, FLOWS_USED_MAX + 500, 0, 0);
}

/* states: 0 none, 1 knocked, 2 open, 3 peer's FIN, 4 the Pod's. */
static void model_step(struct flows *f, uint8_t *model, uint16_t port, unsigned dice,
                       uint64_t *connections)
{
    switch (dice % 6) {
    case 0:
        in(f, port, SYN, T0);
        *model = 1;
        break;
    case 1:
        out(f, port, SYN | ACK, T0);
        *connections += *model < 2;
        *model = *model < 2 ? 2 : *model;
        break;
    case 2:
        in(f, port, FIN | ACK, T0);
        *model = *model == 2 ? 3 : *model == 4 ? 0 : *model;
        break;
    case 3:
        out(f, port, FIN | ACK, T0);
        *model = *model == 2 ? 4 : *model == 3 ? 0 : *model;
        break;
    case 4:
        in(f, port, ACK, T0);
        break;
    default:
        if (dice % 2)
            in(f, port, RST, T0);
        else
            out(f, port, RST | ACK, T0);
        *model = 0;
    }
}

static void test_model(void **state)
{
    struct flows *f = *state;
    static const unsigned ports = 2500; /* long chains in the table */
    uint8_t *model = calloc(ports, 1);
    uint64_t connections = 0;
    uint64_t seed = 42;
    for (unsigned step = 0; step < 200000; step++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned at = (unsigned)(seed >> 33) % ports;
        unsigned dice = (unsigned)(seed >> 20) & 0xfff;
        /* A FIN before the handshake is nothing that TCP sends. */
        if (model[at] == 1 && (dice % 6 == 2 || dice % 6 == 3))
            continue;
        model_step(f, &model[at], (uint16_t)(at + 1), dice, &connections);
        if (step % 20000)
            continue;
        unsigned open = 0;
        unsigned used = 0;
        for (unsigned i = 0; i < ports; i++) {
            used += model[i] > 0;
            open += model[i] > 1;
        }
        expect(f, connections, open, used);
        if (step % 40000 == 0)
            assert_true(flows_adopt(f, T0));
        expect(f, connections, open, used);
    }
    free(model);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_life),  TEST(test_reset_and_reuse), TEST(test_not_counted),
        TEST(test_time),  TEST(test_adopt),           TEST(test_full),
        TEST(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
