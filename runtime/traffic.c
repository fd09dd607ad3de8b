/* One packet socket a Pod, opened on a thread that enters the Pod's namespace and ends. */
#include "runtime/traffic.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "runtime/cni.h"
#include "runtime/flows.h"
#include "runtime/network_ns.h"
#include "runtime/network_work.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define SNAP_BYTES 96u /* the longest IPv4 header and the part of TCP's that counts */
#define SAMPLE_MASK 0x3fu
#define PACKETS_A_TURN_MAX 512
#define QUEUE_BYTES (1024 * 1024) /* a burst of a thousand connections between two turns */
#define EXPIRE_MS 10000u

struct watched {
    struct traffic *traffic;
    char *uid;
    char *netns;
    uint32_t ip; /* network order */
    struct network_work *work;
    int fd;
    struct err err;
    uv_poll_t *poll;
    struct flows *flows; /* mapped; NULL: no connection yet */
    uint64_t begun_ms;   /* when counting began, mono and unix */
    uint64_t begun_unix_ms;
    uint64_t expired_ms;
    uint64_t missed;
    bool ready;
};

struct traffic {
    struct uv_loop_s *loop;
    char *dir;
    struct map *pods; /* uid -> struct watched */
};

struct traffic *traffic_new(struct uv_loop_s *loop, const char *dir)
{
    struct traffic *traffic = xcalloc(1, sizeof(*traffic));
    traffic->loop = loop;
    traffic->dir = xstrdup(dir);
    traffic->pods = map_new();
    return traffic;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void unwatch(struct watched *w)
{
    network_work_cancel(w->work);
    w->work = NULL;
    if (w->poll) {
        (void)uv_poll_stop(w->poll);
        uv_close((uv_handle_t *)w->poll, on_closed);
    }
    if (w->fd >= 0)
        (void)close(w->fd);
    if (w->flows)
        (void)munmap(w->flows, sizeof(*w->flows));
    map_remove(w->traffic->pods, w->uid);
    free(w->uid);
    free(w->netns);
    free(w);
}

void traffic_free(struct traffic *traffic)
{
    const char *uid;
    void *value;
    if (!traffic)
        return;
    for (size_t it = 0; map_next(traffic->pods, &it, &uid, &value);)
        unwatch(value);
    map_free(traffic->pods);
    free(traffic->dir);
    free(traffic);
}

/* ---- counts in a file ---- */

static char *path_of(const struct traffic *traffic, const char *uid)
{
    return xasprintf("%s/%s", traffic->dir, uid);
}

/* NULL: no file, or none that can be used. */
static struct flows *map_file(const char *path, int flags)
{
    CLEANUP(close) int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    if (st.st_size != (off_t)sizeof(struct flows) &&
        (!(flags & O_CREAT) || ftruncate(fd, sizeof(struct flows)) < 0))
        return NULL;
    void *at = mmap(NULL, sizeof(struct flows), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* What an earlier agent counted. */
static void adopt(struct watched *w)
{
    CLEANUP(free) char *path = path_of(w->traffic, w->uid);
    w->flows = map_file(path, 0);
    if (!w->flows)
        return;
    if (flows_adopt(w->flows, clock_mono_ms()))
        return;
    (void)munmap(w->flows, sizeof(*w->flows));
    w->flows = NULL;
    (void)unlink(path);
}

static bool begin_counts(struct watched *w)
{
    CLEANUP(free) char *path = path_of(w->traffic, w->uid);
    int r = file_mkdirs(w->traffic->dir, 0700);
    w->flows = r < 0 ? NULL : map_file(path, O_CREAT | O_TRUNC);
    if (!w->flows) {
        const struct log_ctx ctx = {.uid = w->uid};
        log_warn(&ctx, "traffic", "cannot keep counts in %s: %s", path, strerror(errno));
        return false;
    }
    flows_init(w->flows, w->begun_unix_ms);
    return true;
}

/* ---- packets ---- */

static bool opens(const uint8_t *data, size_t len)
{
    size_t tcp = len > 14 ? 14 + (size_t)(data[14] & 15) * 4 : 0;
    return len > tcp + 13 && (data[tcp + 13] & 0x02); /* SYN */
}

static void stop_counting(struct watched *w)
{
    w->ready = false;
    (void)uv_poll_stop(w->poll);
}

static void on_packets(uv_poll_t *poll, int status, int events)
{
    struct watched *w = poll->data;
    uint8_t data[SNAP_BYTES];
    (void)status;
    (void)events;
    uint64_t now = clock_mono_ms();
    for (int i = 0; i < PACKETS_A_TURN_MAX; i++) {
        ssize_t n = recv(w->fd, data, sizeof(data), MSG_DONTWAIT);
        if (n < 0 && errno == ENETDOWN)
            stop_counting(w); /* the interface went, and the network with it */
        if (n < 0)
            return;
        if (!w->flows && (!opens(data, (size_t)n) || !begin_counts(w)))
            continue;
        (void)flows_packet(w->flows, data, (size_t)n, w->ip, now);
    }
}

/* Ethernet, IPv4, TCP, no fragment; SYN, FIN or RST, or by chance. */
static int attach_filter(int fd)
{
    static const struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 9),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 7),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 20),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 5, 0),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 14),
        BPF_STMT(BPF_LD | BPF_B | BPF_IND, 27),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x07, 3, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SAMPLE_MASK, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, SNAP_BYTES),
    };
    const struct sock_fprog program = {.len = ARRAY_LEN(code),
                                       .filter = (struct sock_filter *)(uintptr_t)code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* On a thread: the socket belongs to the namespace in which it is made. */
static void open_socket(void *userdata)
{
    struct watched *w = userdata;
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int bytes = QUEUE_BYTES;
    if (netns_enter(w->netns, &w->err) < 0)
        return;
    at.sll_ifindex = (int)if_nametoindex(CNI_IFNAME);
    /* Protocol 0 until the filter is there: nothing slips in before. */
    CLEANUP(close) int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || at.sll_ifindex == 0 || attach_filter(fd) < 0 ||
        bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0) {
        (void)err_set(&w->err, -errno, "cannot watch its interface: %s", strerror(errno));
        return;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    w->fd = TAKE_FD(fd);
}

static void on_opened(void *userdata)
{
    struct watched *w = userdata;
    const struct log_ctx ctx = {.uid = w->uid};
    w->work = NULL;
    if (w->fd < 0) {
        log_warn(&ctx, "traffic", "connections are not counted: %s", w->err.text);
        return;
    }
    uv_poll_t *poll = xmalloc(sizeof(*poll));
    if (uv_poll_init(w->traffic->loop, poll, w->fd) < 0) {
        free(poll);
        return;
    }
    poll->data = w;
    w->poll = poll;
    w->begun_ms = clock_mono_ms();
    w->begun_unix_ms = (uint64_t)clock_unix_ms();
    w->ready = uv_poll_start(poll, UV_READABLE, on_packets) == 0;
    adopt(w);
}

void traffic_open(struct traffic *traffic, const char *uid, const char *netns, const char *ip)
{
    struct in_addr address;
    if (map_get(traffic->pods, uid) || inet_pton(AF_INET, ip, &address) != 1)
        return;
    struct watched *w = xcalloc(1, sizeof(*w));
    w->traffic = traffic;
    w->uid = xstrdup(uid);
    w->netns = xstrdup(netns);
    w->ip = address.s_addr;
    w->fd = -1;
    map_set(traffic->pods, uid, w);
    (void)network_work_start(traffic->loop, open_socket, on_opened, w, &w->work);
}

void traffic_close(struct traffic *traffic, const char *uid)
{
    CLEANUP(free) char *path = path_of(traffic, uid);
    struct watched *w = map_get(traffic->pods, uid);
    if (w)
        unwatch(w);
    (void)unlink(path);
}

void traffic_ended(struct traffic *traffic, const char *uid)
{
    struct watched *w = map_get(traffic->pods, uid);
    if (w && w->flows)
        flows_clear(w->flows);
}

void traffic_sweep(struct traffic *traffic)
{
    CLEANUP(closedir) DIR *dir = opendir(traffic->dir);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || map_get(traffic->pods, entry->d_name))
            continue;
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
}

bool traffic_read(struct traffic *traffic, const char *uid, struct traffic_counts *ret)
{
    struct watched *w = map_get(traffic->pods, uid);
    struct tpacket_stats stats = {0};
    socklen_t len = sizeof(stats);
    uint64_t now = clock_mono_ms();
    if (!w || !w->ready)
        return false;
    if (getsockopt(w->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0)
        w->missed += stats.tp_drops; /* the kernel's count begins anew with each look */
    if (w->flows && now - w->expired_ms >= EXPIRE_MS) {
        w->expired_ms = now;
        flows_expire(w->flows, now);
    }
    uint64_t used = w->flows && w->flows->used_ms > w->begun_ms ? w->flows->used_ms : w->begun_ms;
    /* Somebody knocks and is not answered yet, or waits for his turn: TCP says it again only after
     * seconds, and the Pod must still be there then. */
    bool knocking = w->flows && w->flows->used > w->flows->open;
    *ret = (struct traffic_counts){
        .epoch = w->flows ? w->flows->epoch : w->begun_unix_ms,
        .connections = w->flows ? w->flows->connections : 0,
        .open = w->flows ? w->flows->open : 0,
        .idle_ms = knocking ? 0 : now - used,
        .missed = w->missed,
    };
    return true;
}
