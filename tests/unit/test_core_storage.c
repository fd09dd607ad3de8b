/* provider/core/storage.c: who has written too much, in the kubelet's words. */
#include "provider/core/storage.h"

#include "core_fixture.h"

#define MIB (1LL << 20)

static const struct {
    const char *what;
    int64_t size_limit, volume; /* of the one emptyDir, and what is in it */
    int64_t limit[2], log[2];   /* of the container, and of an init container */
    bool memory;
    const char *text; /* NULL: all is well */
} rows[] = {
    {"no limits", -1, 9 * MIB, {-1, -1}, {9 * MIB, 0}, false, NULL},
    {"just full", MIB, MIB, {-1, -1}, {0, 0}, false, NULL},
    {"a byte more",
     MIB,
     MIB + 1,
     {-1, -1},
     {0, 0},
     false,
     "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "},
    {"0 is no limit", 0, MIB, {-1, -1}, {0, 0}, false, NULL},
    {"in memory the file system is the limit", MIB, 2 * MIB, {-1, -1}, {0, 0}, true, NULL},
    {"volume and log together",
     -1,
     MIB,
     {2 * MIB, -1},
     {MIB + 1, 0},
     false,
     "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "},
    {"together just full", -1, MIB, {2 * MIB, -1}, {MIB, 0}, false, NULL},
    {"the init container's limit is the Pod's when it is larger",
     -1,
     MIB,
     {MIB, 3 * MIB},
     {MIB, MIB},
     false,
     NULL},
    {"and each has its own",
     -1,
     0,
     {MIB, 3 * MIB},
     {MIB + 1, 0},
     false,
     "Container c exceeded its local ephemeral storage limit \"1Mi\". "},
    {"an init container's own",
     -1,
     0,
     {3 * MIB, MIB},
     {0, 2 * MIB},
     false,
     "Container i1 exceeded its local ephemeral storage limit \"1Mi\". "},
    {"a log without a limit of its own",
     -1,
     0,
     {-1, MIB},
     {MIB, 1},
     false,
     "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "},
};

static void limit_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct volume volume = {.name = "v",
                                .kind = VOLUME_EMPTY_DIR,
                                .memory = rows[i].memory,
                                .size_limit = rows[i].size_limit};
        const struct storage_used used = {&rows[i].volume, rows[i].log};
        struct fixture f;
        char text[OBSERVED_VERDICT_MAX] = "";
        bool exceeds;

        fixture_init(&f);
        fixture_inits(&f, 1);
        f.spec.volumes = &volume;
        f.spec.volumes_len = 1;
        f.container.resources.ephemeral_limit_bytes = rows[i].limit[0];
        f.inits[0].resources.ephemeral_limit_bytes = rows[i].limit[1];
        exceeds = storage_exceeds(&f.spec, &used, text, sizeof(text));
        if (exceeds != (rows[i].text != NULL) || (exceeds && strcmp(text, rows[i].text) != 0))
            fail_msg("%s: %d \"%s\"", rows[i].what, exceeds, text);
    }
}

static void counts(void **state)
{
    struct volume volume = {.name = "v", .kind = VOLUME_EMPTY_DIR, .size_limit = -1};
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_false(storage_counts(&f.spec));
    f.container.resources.ephemeral_limit_bytes = MIB;
    assert_true(storage_counts(&f.spec));
    f.container.resources.ephemeral_limit_bytes = -1;
    f.spec.volumes = &volume;
    f.spec.volumes_len = 1;
    assert_true(storage_counts(&f.spec));
    volume.memory = true;
    assert_false(storage_counts(&f.spec));
    volume = (struct volume){.name = "v", .kind = VOLUME_PROJECTED};
    assert_false(storage_counts(&f.spec));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit_table),
        cmocka_unit_test(counts),
    };

    return cmocka_run_group_tests_name("core_storage", tests, NULL, NULL);
}
