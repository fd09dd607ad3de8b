/* What the table tests of provider/core share: one ordinary Pod with one container, its observation
 * and a fixed moment. Included by tests/unit/test_core_*.c alone. */
#pragma once

#include "provider/core/step.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW_MONO 1000000u
#define NOW_UNIX 1700000000000
#define LEN(array) (sizeof(array) / sizeof((array)[0]))

struct fixture {
    struct container_spec container;
    struct pod_spec spec;
    union {
        struct container_observed c; /* of the container */
        struct container_observed all[POD_MACHINES_MAX];
    };
    struct container_spec inits[POD_INITS_MAX + 1];
    struct pod_observed obs;
    struct now now;
};

/* A Pod as the API gives it, just seen. */
static inline void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->container = (struct container_spec){
        .name = "c",
        .image = "reg/app:v1",
        .pull_policy = PULL_IF_NOT_PRESENT,
        .resources = {-1, -1, -1, -1, -1, -1},
        .desired = {-1, -1, -1, -1, -1, -1},
    };
    f->spec = (struct pod_spec){
        .uid = "u1",
        .ns = "default",
        .name = "web",
        .resource_version = "7",
        .generation = 3,
        .node_name = "uk-0",
        .service_account = "default",
        .grace_s = 30,
        .containers = &f->container,
        .containers_len = 1,
    };
    f->now = (struct now){.mono_ms = NOW_MONO, .unix_ms = NOW_UNIX};
    observe_init(&f->obs, &f->spec, f->all, &f->now);
}

/* Gives it init containers "i1", "i2", ... */
static inline void fixture_inits(struct fixture *f, size_t count)
{
    static const char *const names[] = {"i1",  "i2",  "i3",  "i4",  "i5",  "i6",  "i7",  "i8", "i9",
                                        "i10", "i11", "i12", "i13", "i14", "i15", "i16", "i17"};

    for (size_t i = 0; i < count; i++) {
        f->inits[i] = f->container;
        f->inits[i].name = names[i];
        f->inits[i].image = "reg/init:v1";
    }
    f->spec.init_containers = f->inits;
    f->spec.init_containers_len = count;
    observe_init(&f->obs, &f->spec, f->all, &f->now);
}

/* Container i ended with this code after running for so long. */
static inline void fixture_exit_of(struct fixture *f, size_t i, int32_t code, int64_t ran_ms)
{
    struct machine_exit exit = {.exit_code = code, .finished_ms = f->now.unix_ms};

    observe_starting(&f->all[i], "id");
    observe_running(&f->all[i], f->now.unix_ms - ran_ms);
    observe_exit(&f->all[i], pod_container(&f->spec, i), &exit, &f->now);
}

static inline void fixture_exit(struct fixture *f, int32_t code, int64_t ran_ms)
{
    fixture_exit_of(f, 0, code, ran_ms);
}
