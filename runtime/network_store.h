/* What is kept on disk about a Pod's network, so that it can be undone from the uid alone: written
 * before CNI is asked (intent), when CNI has answered, and when the tap is joined. One JSON file
 * each, <dir>/<uid>.json. Called by network.c and its workers. */
#pragma once

#include "runtime/network.h"

struct buf;
struct err;

#define NETWORK_RECORD_MAX (1024 * 1024) /* two texts of up to 256 KiB each, and escapes */
#define NETWORK_UID_MAX 65

enum network_phase {
    NETWORK_INTENT,   /* CNI may have been asked */
    NETWORK_ANSWERED, /* result is CNI's; the tap may be joined */
    NETWORK_UP,       /* net is complete */
    _NETWORK_PHASE_MAX,
};

struct network_record {
    enum network_phase phase;
    char *boot_id;
    char *ns;
    char *name;
    bool is_default;            /* conf is our own default list */
    char *conf;                 /* the list used, as JSON */
    char *result;               /* CNI's, as JSON; NULL before */
    struct network_port *ports; /* strings malloc'd */
    size_t ports_len;
    uint64_t ingress_bps;
    uint64_t egress_bps;
    char *ips; /* NULL: none asked for */
    char *mac;
    struct network_result net; /* valid when up */
};

void network_record_free(struct network_record *record); /* zeroes it; accepts a zeroed one */
/* What its Pod asked for; points into the record. */
struct network_wants network_record_wants(const struct network_record *record);
int network_record_encode(const struct network_record *record, struct buf *out);
/* -EBADMSG: not ours, damaged, another version. ret is untouched on failure. */
int network_record_decode(const char *text, size_t len, struct network_record *ret);

/* -ENOENT: none. -EBADMSG: unreadable: something was begun, nobody knows what. */
int network_store_load(const char *dir, const char *uid, struct network_record *ret);
int network_store_save(const char *dir, const char *uid, const struct network_record *record,
                       struct err *err);
int network_store_remove(const char *dir, const char *uid, struct err *err);
