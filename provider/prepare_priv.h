/* What the files of prepare share. Nobody else includes this. */
#pragma once

#include "provider/prepare.h"

struct object_hold;

#define NEEDS_MAX 256 /* objects of one Pod: its text is 1.5 MiB at most, people name a handful */

/* Of one Pod, in machine->needs; made at its first start. */
struct needs {
    struct machine *machine;
    char *ns;
    struct object_hold **holds;
    size_t len;
    bool too_many;
    bool waiting; /* reconcile waits for an answer about container */
    uint32_t container;
};

struct answer {
    char reason[OBSERVED_REASON_MAX];
    char text[OBSERVED_TEXT_MAX];
};

/* Those of the machine; made, with all that the spec names held, when there are none. */
struct needs *needs_make(struct machine *m, const struct pod_spec *spec);
