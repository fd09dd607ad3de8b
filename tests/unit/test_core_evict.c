/* provider/core/evict.c: thresholds as the kubelet writes them, how long a condition stays, and
 * which Pod goes first. */
#include "provider/core/evict.h"

#include "core_fixture.h"

#include <errno.h>

#define MIB (1LL << 20)

static void threshold_table(void **state)
{
    static const struct {
        const char *text;
        int result;
        enum evict_signal signal;
        int64_t capacity;
        int64_t amount; /* of that capacity */
    } rows[] = {
        {"memory.available<100Mi", 0, SIGNAL_MEMORY, 1 << 30, 100 * MIB},
        {"nodefs.available<10%", 0, SIGNAL_NODEFS, 1000, 100},
        {"nodefs.available<7.5%", 0, SIGNAL_NODEFS, 1000, 75},
        {"nodefs.inodesFree<5%", 0, SIGNAL_NODEFS_INODES, 1000, 50},
        {"imagefs.available<15%", 0, SIGNAL_IMAGEFS, INT64_MAX, INT64_MAX / 100 * 15 + 1},
        {"imagefs.inodesFree<1000", 0, SIGNAL_IMAGEFS_INODES, 10, 1000},
        {"pid.available<100", 0, SIGNAL_PID, 1000, 100},
        {"memory.available<0%", 0, SIGNAL_MEMORY, 1000, 0},
        {"memory.available<100%", 0, SIGNAL_MEMORY, 1000, 0}, /* the kubelet's "off" */
        {"memory.available<101%", -EINVAL, 0, 0, 0},
        {"memory.available<-1%", -EINVAL, 0, 0, 0},
        {"memory.available<%", -EINVAL, 0, 0, 0},
        {"memory.available<", -EINVAL, 0, 0, 0},
        {"memory.available<0", -EINVAL, 0, 0, 0},
        {"memory.available<-5Mi", -EINVAL, 0, 0, 0},
        {"memory.available>100Mi", -EINVAL, 0, 0, 0},
        {"memory.availabl<100Mi", -EINVAL, 0, 0, 0},
        {"allocatableMemory.available<100Mi", -EINVAL, 0, 0, 0},
        {"", -EINVAL, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct threshold t = {0};
        int64_t amount;

        if (threshold_parse(rows[i].text, &t) != rows[i].result)
            fail_msg("%s", rows[i].text);
        if (rows[i].result < 0)
            continue;
        amount = threshold_amount(&t, rows[i].capacity);
        assert_int_equal(t.signal, rows[i].signal);
        if (amount / 100 != rows[i].amount / 100 && amount != rows[i].amount)
            fail_msg("%s: %lld", rows[i].text, (long long)amount);
    }
}

static void met_below(void **state)
{
    const struct threshold t = {.signal = SIGNAL_MEMORY, .amount = 100};

    (void)state;
    assert_true(threshold_met(&t, &(struct level){99, 1000}));
    assert_false(threshold_met(&t, &(struct level){100, 1000}));
    assert_false(threshold_met(&t, &(struct level){0, 0})); /* not measured */
    assert_int_equal(signal_condition(SIGNAL_MEMORY), EVICT_MEMORY);
    assert_int_equal(signal_condition(SIGNAL_IMAGEFS_INODES), EVICT_DISK);
    assert_int_equal(signal_condition(SIGNAL_PID), EVICT_PID);
}

static void a_condition_outlasts_its_cause(void **state)
{
    uint64_t seen = 0;

    (void)state;
    assert_false(pressure_update(&seen, false, 10, 300));
    assert_true(pressure_update(&seen, true, 1000, 300));
    assert_true(pressure_update(&seen, false, 1299, 300));
    assert_true(pressure_update(&seen, true, 1299, 300)); /* again: it counts from here */
    assert_true(pressure_update(&seen, false, 1598, 300));
    assert_false(pressure_update(&seen, false, 1599, 300));
    assert_false(pressure_update(&seen, false, 1600, 0));
}

/* Each list: the one that goes is named. */
static void rank_table(void **state)
{
    static const struct {
        const char *what;
        struct {
            int64_t usage, request;
            int32_t priority;
            uint32_t features;
        } pods[3];
        size_t len, first; /* first == len: nobody */
    } rows[] = {
        {"above its request", {{90, 100, 0, 0}, {20, 10, 0, 0}}, 2, 1},
        {"above its request, whatever the priority", {{90, 100, 0, 0}, {20, 10, 9, 0}}, 2, 1},
        {"both above: priority", {{500, 10, 9, 0}, {20, 10, 1, 0}}, 2, 1},
        {"both above, one priority: excess", {{30, 10, 1, 0}, {50, 10, 1, 0}}, 2, 1},
        {"excess, not usage", {{500, 490, 1, 0}, {50, 10, 1, 0}}, 2, 1},
        {"none above: priority", {{5, 10, 9, 0}, {5, 10, -1, 0}}, 2, 1},
        {"none above: nearest to its request", {{5, 100, 0, 0}, {5, 10, 0, 0}}, 2, 1},
        {"equals: the first", {{5, 10, 0, 0}, {5, 10, 0, 0}}, 2, 0},
        {"a critical one stays", {{900, 0, PRIORITY_CRITICAL, 0}, {5, 10, 0, 0}}, 2, 1},
        {"a static one stays", {{900, 0, 0, PF_STATIC}, {5, 10, 0, 0}}, 2, 1},
        {"only such", {{900, 0, 0, PF_STATIC}, {9, 0, PRIORITY_CRITICAL, 0}}, 2, 2},
        {"nobody", {{0, 0, 0, 0}}, 0, 0},
        {"of three", {{20, 10, 5, 0}, {5, 10, 0, 0}, {11, 10, 4, 0}}, 3, 2},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct pod_spec specs[3] = {0};
        struct candidate list[3];

        for (size_t k = 0; k < rows[i].len; k++) {
            specs[k].priority = rows[i].pods[k].priority;
            specs[k].features = rows[i].pods[k].features;
            list[k] = (struct candidate){&specs[k], rows[i].pods[k].usage, rows[i].pods[k].request};
        }
        if (candidate_first(list, rows[i].len) != rows[i].first)
            fail_msg("%s", rows[i].what);
    }
}

static void messages(void **state)
{
    struct threshold memory, inodes;
    struct fixture f;
    struct candidate candidate;
    char text[OBSERVED_VERDICT_MAX];

    (void)state;
    fixture_init(&f);
    f.container.resources.memory_request_bytes = 5 * MIB;
    assert_int_equal(threshold_parse("memory.available<100Mi", &memory), 0);
    assert_int_equal(threshold_parse("nodefs.inodesFree<5%", &inodes), 0);
    candidate = (struct candidate){&f.spec, 10 * MIB, candidate_request(&f.spec, SIGNAL_MEMORY)};
    evict_message(text, sizeof(text), &memory, &(struct level){20 * MIB, 1 << 30}, &candidate);
    assert_string_equal(text,
                        "The node was low on resource: memory. Threshold quantity: 100Mi, "
                        "available: 20Mi. Container c was using 10Mi, request is 5Mi, has larger "
                        "consumption of memory. ");
    candidate = (struct candidate){&f.spec, 0, candidate_request(&f.spec, SIGNAL_NODEFS_INODES)};
    evict_message(text, sizeof(text), &inodes, &(struct level){40, 1000}, &candidate);
    assert_string_equal(text, "The node was low on resource: inodes. Threshold quantity: 50, "
                              "available: 40. ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threshold_table),
        cmocka_unit_test(met_below),
        cmocka_unit_test(a_condition_outlasts_its_cause),
        cmocka_unit_test(rank_table),
        cmocka_unit_test(messages),
    };

    return cmocka_run_group_tests_name("core_evict", tests, NULL, NULL);
}
