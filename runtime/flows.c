/* Open addressing with linear probing and backward-shift deletion: no tombstones, so a table that
 * is used for months stays as fast as a new one. */
#include "runtime/flows.h"

#include <string.h>

#define MAGIC 0x756b2d666c6f7731u /* "uk-flow1" */
#define ETHER 14u
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

enum flow_state { FLOW_SYN = 1, FLOW_OPEN = 2 };

void flows_init(struct flows *flows, uint64_t epoch)
{
    memset(flows, 0, sizeof(*flows));
    flows->magic = MAGIC;
    flows->epoch = epoch;
}

static size_t home(uint64_t key)
{
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdu;
    key ^= key >> 33;
    return (size_t)key & (FLOWS_MAX - 1);
}

/* The key's slot, or the free one where it belongs. The table is never full. */
static struct flow *find(struct flows *flows, uint64_t key)
{
    size_t i = home(key);
    while (flows->slots[i].key && flows->slots[i].key != key)
        i = (i + 1) & (FLOWS_MAX - 1);
    return &flows->slots[i];
}

static void forget(struct flows *flows, struct flow *flow)
{
    size_t hole = (size_t)(flow - flows->slots);
    size_t i = hole;
    flows->open -= flow->state == FLOW_OPEN;
    flows->used--;
    for (;;) {
        i = (i + 1) & (FLOWS_MAX - 1);
        if (!flows->slots[i].key)
            break;
        /* It may move up unless its home lies between the hole and itself. */
        size_t from = home(flows->slots[i].key);
        bool between = hole <= i ? (from > hole && from <= i) : (from > hole || from <= i);
        if (between)
            continue;
        flows->slots[hole] = flows->slots[i];
        hole = i;
    }
    flows->slots[hole] = (struct flow){0};
}

static struct flow *add(struct flows *flows, struct flow *slot, uint64_t key, uint8_t state)
{
    if (flows->used >= FLOWS_USED_MAX)
        return NULL;
    *slot = (struct flow){.key = key, .state = state};
    flows->used++;
    flows->open += state == FLOW_OPEN;
    return slot;
}

static void on_syn(struct flows *flows, struct flow *flow, uint64_t key, uint32_t now_s)
{
    if (flow->key && flow->state == FLOW_SYN) {
        flow->seen_s = now_s;
        return; /* said again */
    }
    if (flow->key) { /* the same ports again: the old one's end was missed */
        forget(flows, flow);
        flow = find(flows, key);
    }
    flow = add(flows, flow, key, FLOW_SYN);
    if (flow)
        flow->seen_s = now_s;
}

/* Counted when the guest accepts it, not when somebody knocks. */
static void on_accept(struct flows *flows, struct flow *flow, uint64_t key, uint32_t now_s)
{
    if (flow->key && flow->state == FLOW_OPEN)
        return;
    flows->connections++;
    if (flow->key) {
        flow->state = FLOW_OPEN;
        flows->open++;
    } else {
        flow = add(flows, flow, key, FLOW_OPEN);
    }
    if (flow)
        flow->seen_s = now_s;
}

struct packet {
    uint64_t key;
    uint8_t flags;
    bool incoming;
};

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool read_packet(const uint8_t *data, size_t len, uint32_t pod_ip, struct packet *ret)
{
    uint8_t pod[4];
    memcpy(pod, &pod_ip, sizeof(pod));
    if (len < ETHER + 20 || data[12] != 0x08 || data[13] != 0x00 || data[ETHER] >> 4 != 4 ||
        data[ETHER + 9] != 6)
        return false;
    size_t tcp = ETHER + (size_t)(data[ETHER] & 15) * 4;
    bool fragment = ((data[ETHER + 6] & 0x1f) | data[ETHER + 7]) != 0;
    if (fragment || tcp < ETHER + 20 || len < tcp + 14)
        return false;
    const uint8_t *source = data + ETHER + 12;
    const uint8_t *target = data + ETHER + 16;
    ret->incoming = memcmp(target, pod, 4) == 0;
    if (!ret->incoming && memcmp(source, pod, 4) != 0)
        return false;
    const uint8_t *peer = ret->incoming ? source : target;
    const uint8_t *ports = data + tcp;
    uint64_t from = (uint64_t)ports[0] << 8 | ports[1];
    uint64_t to = (uint64_t)ports[2] << 8 | ports[3];
    ret->key = (uint64_t)get32(peer) << 32 | (ret->incoming ? from << 16 | to : to << 16 | from);
    ret->flags = data[tcp + 13];
    return ret->key != 0;
}

bool flows_packet(struct flows *flows, const uint8_t *data, size_t len, uint32_t pod_ip,
                  uint64_t now_ms)
{
    struct packet p;
    uint32_t now_s = (uint32_t)(now_ms / 1000);
    if (!read_packet(data, len, pod_ip, &p))
        return false;
    struct flow *flow = find(flows, p.key);
    bool opening = (p.flags & (SYN | RST)) == SYN && p.incoming != !!(p.flags & ACK);
    if (!flow->key && !opening)
        return false; /* the Pod's own connections to others, and what ended already */
    flows->used_ms = now_ms;
    if (p.flags & RST) {
        forget(flows, flow);
        return true;
    }
    if (opening && p.incoming) {
        on_syn(flows, flow, p.key, now_s);
        return true;
    }
    if (opening) {
        on_accept(flows, flow, p.key, now_s);
        return true;
    }
    flow->seen_s = now_s;
    if (p.flags & FIN)
        flow->fins |= p.incoming ? 1 : 2;
    if (flow->fins == 3)
        forget(flows, flow);
    return true;
}

static bool too_old(const struct flow *flow, uint64_t now_ms)
{
    uint64_t limit = flow->state == FLOW_SYN ? FLOW_SYN_MS
                     : flow->fins            ? FLOW_DOUBT_MS
                                             : FLOW_SILENT_MS;
    return now_ms > (uint64_t)flow->seen_s * 1000 + limit;
}

void flows_expire(struct flows *flows, uint64_t now_ms)
{
    for (size_t i = 0; i < FLOWS_MAX && flows->used; i++) {
        /* What moves up into the slot is looked at too. */
        while (flows->slots[i].key && too_old(&flows->slots[i], now_ms))
            forget(flows, &flows->slots[i]);
    }
}

void flows_clear(struct flows *flows)
{
    memset(flows->slots, 0, sizeof(flows->slots));
    flows->used = flows->open = 0;
}

/* Builds the table anew from its own entries: an agent may have been killed between two writes. */
static void rebuild(struct flows *flows)
{
    struct flow slots[FLOWS_MAX];
    memcpy(slots, flows->slots, sizeof(slots));
    flows_clear(flows);
    for (size_t i = 0; i < FLOWS_MAX; i++) {
        bool known = slots[i].state == FLOW_SYN || slots[i].state == FLOW_OPEN;
        struct flow *slot = slots[i].key && known ? find(flows, slots[i].key) : NULL;
        if (!slot || slot->key || !add(flows, slot, slots[i].key, slots[i].state))
            continue;
        slot->seen_s = slots[i].seen_s;
        slot->fins = slots[i].fins & 3;
    }
}

bool flows_adopt(struct flows *flows, uint64_t now_ms)
{
    uint32_t now_s = (uint32_t)(now_ms / 1000);
    uint32_t grace_s = (FLOW_SILENT_MS - FLOW_DOUBT_MS) / 1000;
    if (flows->magic != MAGIC || flows->used_ms > now_ms)
        return false;
    rebuild(flows);
    for (size_t i = 0; i < FLOWS_MAX; i++) {
        struct flow *flow = &flows->slots[i];
        if (!flow->key)
            continue;
        if (flow->seen_s > now_s)
            return false;
        /* Its end may have been missed: as if it had been silent for long. */
        if (flow->state == FLOW_OPEN && now_s > grace_s && flow->seen_s > now_s - grace_s)
            flow->seen_s = now_s - grace_s;
    }
    return true;
}
