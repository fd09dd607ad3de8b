/* TCP connections to one Pod, told from the flags of their packets: how many there were, how many
 * are open. A table of fixed size that lies in a mapped file, so that an agent that is killed goes
 * on with it; everything read from it is checked. No I/O, no clock. Called by traffic.c; fuzzed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOWS_MAX 4096                     /* slots; a power of two */
#define FLOWS_USED_MAX (FLOWS_MAX / 4 * 3) /* more are counted, but not followed to their end */
#define FLOW_SYN_MS 60000u                 /* nobody answered */
/* An open one without a sign: peers vanish, and a FIN may be missed while no agent runs. Packets
 * are sampled (traffic.c), so that one in use gives signs. */
#define FLOW_SILENT_MS (2u * 3600 * 1000)
#define FLOW_DOUBT_MS (5u * 60 * 1000) /* the same, half closed, or after nobody looked */

struct flow {
    uint64_t key;    /* peer's address and port, own port; 0: free */
    uint32_t seen_s; /* when its last packet was seen, s of the caller's clock */
    uint8_t state;   /* enum flow_state */
    uint8_t fins;    /* 1: the peer's, 2: ours */
    uint16_t spare;
};

struct flows {
    uint64_t magic;
    uint64_t epoch; /* unix ms: since when it is counted */
    uint64_t connections;
    uint64_t used_ms; /* of the last sign of a connection; 0: none */
    uint32_t used;    /* slots */
    uint32_t open;
    uint64_t spare[3];
    struct flow slots[FLOWS_MAX];
};

void flows_init(struct flows *flows, uint64_t epoch);
/* Whether a table that was found is one, of this version. Counts anew what can be counted; open
 * connections become doubtful. now_ms is before what the table knows: not this boot's. */
bool flows_adopt(struct flows *flows, uint64_t now_ms);
/* A packet from the Ethernet header on, cut anywhere; pod_ip in network order. true: it belongs to
 * a connection to the Pod. */
bool flows_packet(struct flows *flows, const uint8_t *data, size_t len, uint32_t pod_ip,
                  uint64_t now_ms);
/* Forgets what is too old. */
void flows_expire(struct flows *flows, uint64_t now_ms);
/* The machine ended: its connections too. */
void flows_clear(struct flows *flows);
