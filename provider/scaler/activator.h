/* Takes connections for Services without a ready Pod, holds them, and carries them to one when
 * there is. A holder is the activator's part of one Service. What a client sends waits in the
 * kernel's receive buffer, so a held connection costs no memory here but its record. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct activator;
struct err;
struct holder;
struct scaler;

#define HOLDER_PORTS_MAX 32      /* of one Service, each protocol counted */
#define HOLDER_CONNECTING_MAX 64 /* to Pods at once: a burst must not drown a guest that boots */

struct activator *activator_start(struct scaler *scaler);
void activator_stop(struct activator *activator); /* NULL is accepted; after its last holder */

struct activator_counts {
    size_t held, relayed;
    uint64_t accepted_total, refused_total, timed_out_total;
};
void activator_count(const struct activator *activator, struct activator_counts *ret);

struct holder_ops {
    /* Something came, left, or was counted: look at the holder's counts. */
    void (*on_change)(void *userdata);
    /* A Pod that is ready for the index-th port; false: none now. Another one each time. */
    bool (*target)(void *userdata, size_t port, struct sockaddr_in *ret);
};

struct holder_config {
    uint64_t hold_ms; /* 0: the scaler's own; never longer than that */
    bool http;        /* what was held in vain gets a 503, else a reset */
};

struct holder *holder_new(struct activator *activator, const struct holder_ops *ops,
                          void *userdata);
/* Held connections end as if their time were over; those carried are reset. */
void holder_free(struct holder *holder);
void holder_configure(struct holder *holder, const struct holder_config *config);
/* Listens for the index-th port (kept while the holder lives); 0 and the data port. -EBUSY: no data
 * port is free. */
int holder_listen(struct holder *holder, size_t port, bool udp, uint16_t *ret, struct err *err);
/* There may be Pods now. */
void holder_release(struct holder *holder);
uint32_t holder_held(const struct holder *holder);
uint32_t holder_relayed(const struct holder *holder);
/* When something last came or left, mono ms; 0: never. */
uint64_t holder_used_ms(const struct holder *holder);
