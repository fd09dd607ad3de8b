/* What a machine uses, measured when somebody asks and at no other time: CPU and memory from its
 * cgroup, else from the VMM's process; packets from the tap in its network namespace; files by
 * size. Units are in the names. Called by provider/endpoints_*.c. */
#pragma once

#include "runtime/cgroup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct instance;

#define STATS_LINK_NAME_MAX 16
#define STATS_WINDOW_NS 10000000000u /* a rate is taken over about so long (contract 5.8) */
#define STATS_FRESH_NS 1000000000u   /* asked again within: the last answer */
#define STATS_FILES_MAX 4096         /* of one directory tree; the rest is not counted */

/* ---- the kernel's texts; -EBADMSG when they are not what they should be ---- */

/* /proc/<pid>/stat. */
struct stats_process {
    uint64_t cpu_ns; /* user and system, of all threads; in steps of a clock tick */
    uint64_t rss_bytes;
    uint64_t faults; /* minor and major */
    uint64_t major_faults;
};
int stats_parse_process(const char *text, struct stats_process *ret);
int stats_process(pid_t pid, struct stats_process *ret);
/* The same on a file that is open. */
int stats_process_read(int fd, struct stats_process *ret);
int stats_process_open(pid_t pid);

/* /proc/<pid>/net/dev. */
struct stats_link {
    char name[STATS_LINK_NAME_MAX];
    uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
    uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};
/* At most max of them; returns the count. Lines that are no link's are skipped. */
size_t stats_parse_links(const char *text, struct stats_link *out, size_t max);
/* pid 0: of this process. */
size_t stats_links(pid_t pid, struct stats_link *out, size_t max);
/* The host receives on a tap what the guest sent. */
void stats_link_turn(struct stats_link *link);

/* Whether the first default route leaves by it, by the text of /proc/net/route. */
bool stats_parse_default_link(const char *text, const char *name);
bool stats_is_default_link(const char *name);

/* /proc/stat, /proc/meminfo, /proc/vmstat, /proc/loadavg, statvfs. */
struct stats_host {
    uint64_t cpu_ns; /* not idle, not waiting, not stolen */
    uint64_t memory_bytes;
    uint64_t used_bytes;        /* not free */
    uint64_t working_set_bytes; /* without inactive file pages, as the kubelet counts */
    uint64_t rss_bytes;         /* anonymous */
    uint64_t swap_bytes, swap_used_bytes;
    uint64_t faults, major_faults;
    uint64_t processes, processes_max;
};
int stats_parse_host_cpu(const char *text, struct stats_host *ret);
int stats_parse_meminfo(const char *text, struct stats_host *ret);
int stats_host(struct stats_host *ret);

struct stats_fs {
    uint64_t capacity_bytes, available_bytes, used_bytes;
    uint64_t inodes, inodes_free, inodes_used;
};
/* Of the file system that path is on. */
int stats_fs(const char *path, struct stats_fs *ret);

/* Blocks and inodes below dir, without following links; an absent one has none. */
struct stats_files {
    uint64_t bytes;
    uint64_t inodes;
};
int stats_files(const char *dir, struct stats_files *ret);

/* ---- a counter's rate, lazily ---- */

/* Zeroed: nothing known. Two marks in the past, at least half a window apart: whoever asks often
 * gets a rate over 5 to 10 s, whoever asks seldom the rate since he asked last. */
struct stats_rate {
    uint64_t older_ns, older_value;
    uint64_t newer_ns, newer_value;
    uint64_t rate; /* value a second: of CPU ns, nanocores */
    bool known;
};
/* now_ns: mono. A value that went down starts anew. */
void stats_rate_add(struct stats_rate *rate, uint64_t now_ns, uint64_t value);

/* ---- one machine ---- */

/* Zeroed: nothing known. Kept between two questions. */
struct stats {
    uint64_t id_hash;    /* of the attempt that it is about */
    uint64_t sampled_ns; /* mono */
    int64_t sampled_ms;  /* unix: the time of all values */
    uint64_t cpu_ns;
    uint64_t memory_bytes;      /* all that is charged */
    uint64_t working_set_bytes; /* what could not be had back at once */
    struct stats_rate cpu_rate;
    bool known;
    enum stats_source {
        STATS_CLOSED,
        STATS_CGROUP,
        STATS_PROCESS,
    } source;
    union { /* kept open, by source */
        struct cgroup_probe cgroup;
        int process; /* /proc/<pid>/stat */
    };
};

/* Measures, or leaves what is fresh. id: the attempt's. started_ms: unix, so that a machine that is
 * younger than a window has a rate at once. -ESRCH: there is nothing to measure. */
int stats_sample(struct stats *stats, const struct instance *instance, const char *id,
                 int64_t started_ms);
/* Gives the descriptors back; the rest stays. NULL is accepted. */
void stats_close(struct stats *stats);
