/* virtio-net on virtio-mmio, version 2 (virtio 1.1, section 4.2): one receive and one send queue.
 */
#include "machine.h"

#include <string.h>

#define QUEUE_SIZE 32
#define FRAME_MAX 1600
#define HEADER 12 /* struct virtio_net_hdr with num_buffers */

enum {
    REG_MAGIC = 0x000,
    REG_VERSION = 0x004,
    REG_DEVICE = 0x008,
    REG_FEATURES = 0x010,
    REG_FEATURES_SEL = 0x014,
    REG_DRIVER_FEATURES = 0x020,
    REG_DRIVER_FEATURES_SEL = 0x024,
    REG_QUEUE_SEL = 0x030,
    REG_QUEUE_NUM = 0x038,
    REG_QUEUE_READY = 0x044,
    REG_QUEUE_NOTIFY = 0x050,
    REG_IRQ_STATUS = 0x060,
    REG_IRQ_ACK = 0x064,
    REG_STATUS = 0x070,
    REG_QUEUE_DESC = 0x080,
    REG_QUEUE_DRIVER = 0x090,
    REG_QUEUE_DEVICE = 0x0a0,
    REG_CONFIG = 0x100,
};

#define FEATURE_MAC (1u << 5)
#define FEATURE_VERSION_1_HIGH 1u /* bit 32 */
#define DESC_WRITE 2

struct desc {
    uint64_t at;
    uint32_t len;
    uint16_t flags, next;
};

struct avail {
    uint16_t flags, index, ring[QUEUE_SIZE], event;
};

struct used {
    uint16_t flags, index;
    struct {
        uint32_t id, len;
    } ring[QUEUE_SIZE];
    uint16_t event;
};

struct queue {
    struct desc desc[QUEUE_SIZE] __attribute__((aligned(16)));
    struct avail avail __attribute__((aligned(4)));
    volatile struct used used __attribute__((aligned(4)));
    uint16_t seen;
    uint8_t data[QUEUE_SIZE][HEADER + FRAME_MAX];
};

static struct queue rx, tx;
static uint32_t mmio;
volatile bool net_pending;
void net_input(const void *frame, size_t len); /* main.c: to lwIP */

static uint32_t get(uint32_t reg)
{
    return *(volatile uint32_t *)(uintptr_t)(mmio + reg);
}

static void set(uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)(mmio + reg) = value;
}

static void setup_queue(unsigned index, struct queue *queue)
{
    set(REG_QUEUE_SEL, index);
    set(REG_QUEUE_NUM, QUEUE_SIZE);
    set(REG_QUEUE_DESC, (uint32_t)(uintptr_t)queue->desc);
    set(REG_QUEUE_DESC + 4, 0);
    set(REG_QUEUE_DRIVER, (uint32_t)(uintptr_t)&queue->avail);
    set(REG_QUEUE_DRIVER + 4, 0);
    set(REG_QUEUE_DEVICE, (uint32_t)(uintptr_t)&queue->used);
    set(REG_QUEUE_DEVICE + 4, 0);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        queue->desc[i].at = (uint32_t)(uintptr_t)queue->data[i];
        queue->desc[i].len = sizeof(queue->data[i]);
    }
    set(REG_QUEUE_READY, 1);
}

static void offer(uint16_t id)
{
    rx.avail.ring[rx.avail.index % QUEUE_SIZE] = id;
    __asm__ volatile("" ::: "memory");
    rx.avail.index++;
}

int net_init(uint32_t base, unsigned irq)
{
    mmio = base;
    if (get(REG_MAGIC) != 0x74726976 || get(REG_VERSION) != 2 || get(REG_DEVICE) != 1)
        return -1;
    set(REG_STATUS, 0);
    set(REG_STATUS, 1);
    set(REG_STATUS, 3);
    set(REG_FEATURES_SEL, 0);
    uint32_t features = get(REG_FEATURES) & FEATURE_MAC;
    set(REG_DRIVER_FEATURES_SEL, 0);
    set(REG_DRIVER_FEATURES, features);
    set(REG_DRIVER_FEATURES_SEL, 1);
    set(REG_DRIVER_FEATURES, FEATURE_VERSION_1_HIGH);
    set(REG_STATUS, 11);
    if (!(get(REG_STATUS) & 8))
        return -1;
    setup_queue(0, &rx);
    setup_queue(1, &tx);
    for (uint16_t i = 0; i < QUEUE_SIZE; i++) {
        rx.desc[i].flags = DESC_WRITE;
        offer(i);
    }
    tx.avail.flags = 1; /* no interrupt for what was sent */
    machine_enable_irq(irq);
    set(REG_STATUS, 15);
    set(REG_QUEUE_NOTIFY, 0);
    return 0;
}

void net_mac(uint8_t mac[6])
{
    for (unsigned i = 0; i < 6; i++)
        mac[i] = *(volatile uint8_t *)(uintptr_t)(mmio + REG_CONFIG + i);
}

bool net_poll(void)
{
    if (!mmio)
        return false;
    net_pending = false;
    set(REG_IRQ_ACK, get(REG_IRQ_STATUS));
    bool any = false;
    while (rx.seen != rx.used.index) {
        unsigned at = rx.seen % QUEUE_SIZE;
        uint32_t id = rx.used.ring[at].id;
        uint32_t len = rx.used.ring[at].len;
        if (id < QUEUE_SIZE && len > HEADER && len <= sizeof(rx.data[0]))
            net_input(rx.data[id] + HEADER, len - HEADER);
        rx.seen++;
        offer((uint16_t)(id % QUEUE_SIZE));
        any = true;
    }
    if (any)
        set(REG_QUEUE_NOTIFY, 0);
    return any;
}

int net_send(const void *frame, size_t len)
{
    if (!mmio || len > FRAME_MAX)
        return -1;
    /* The device takes what is offered at once; a full ring means it is stopped: drop, TCP repeats.
     */
    if ((uint16_t)(tx.avail.index - tx.used.index) >= QUEUE_SIZE)
        return -1;
    unsigned at = tx.avail.index % QUEUE_SIZE;
    memset(tx.data[at], 0, HEADER);
    memcpy(tx.data[at] + HEADER, frame, len);
    tx.desc[at].len = (uint32_t)(HEADER + len);
    tx.avail.ring[at] = (uint16_t)at;
    __asm__ volatile("" ::: "memory");
    tx.avail.index++;
    set(REG_QUEUE_NOTIFY, 1);
    return 0;
}
