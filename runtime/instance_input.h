/* What somebody types goes to a machine's console: a connection of its own to the machine's shim,
 * so that it neither waits for nor disturbs the agent's other business with it. Called by
 * provider's attach. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct instance_input;
struct instances;

struct instance_input_ops {
    void (*on_room)(void *userdata); /* all that was taken has reached the shim's queue */
    /* The machine ended, or (refused) its shim has as many callers as it can hold. The last. */
    void (*on_closed)(void *userdata, bool refused);
};

/* Never calls back before it returned. -ENOENT, -ECONNREFUSED: no such machine runs. */
int instance_input_open(struct instances *all, const char *id, const struct instance_input_ops *ops,
                        void *userdata, struct instance_input **ret);
/* Bytes taken; 0: wait for on_room. */
size_t instance_input_write(struct instance_input *input, const char *data, size_t len);
/* At any time; no callback follows. NULL is accepted. */
void instance_input_close(struct instance_input *input);
