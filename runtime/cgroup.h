/* A cgroup per machine, v2 or v1 (also hybrid hosts): memory, CPU and process limits, the OOM mark,
 * and usage for statistics. Knows names and files, not Pods. Called by instance.c; the processes
 * put themselves in (the shim's child, before it becomes the VMM). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cgroups;
struct err;

#define CGROUP_HIERARCHIES_MAX 4 /* v1 at worst: memory, cpu, cpuacct, pids */
#define CGROUP_PATH_MAX 512
#define CGROUP_SHIMS "shims" /* the leaf where shims live, without limits */

struct cgroup_limits {
    uint64_t memory_bytes;     /* 0: none */
    int64_t cpu_limit_milli;   /* -1: none */
    int64_t cpu_request_milli; /* -1: the least weight */
    uint32_t pids;             /* 0: none */
};

struct cgroup_usage {
    uint64_t cpu_ns;            /* since the machine started */
    uint64_t memory_bytes;      /* all that is charged */
    uint64_t working_set_bytes; /* without inactive file pages, as kubelet counts */
};

/* Where the controllers are, from the text of /proc/mounts. */
struct cgroup_layout {
    int version; /* 1, 2; 0: none found */
    size_t len;
    struct {
        char mount[256];
        char controllers[64]; /* comma-separated, of memory, cpu, cpuacct, pids */
    } at[CGROUP_HIERARCHIES_MAX];
};

/* v2_controllers: content of cgroup.controllers at the v2 mount, "" when there is none. */
void cgroup_layout_parse(const char *mounts, const char *v2_controllers, struct cgroup_layout *ret);
/* The mount point of cgroup2 in the text; -ENOENT. */
int cgroup_find_v2(const char *mounts, char *ret, size_t size);

/* Makes the parent group (a plain name) and its shims leaf, or says why that is forbidden. */
int cgroups_open(const char *parent, struct cgroups **ret, struct err *err);
void cgroups_close(struct cgroups *all); /* NULL is accepted; groups stay */

int cgroup_create(struct cgroups *all, const char *id, const struct cgroup_limits *limits,
                  struct err *err);
/* Another CPU limit and weight for a group that has processes; its memory stays as it is. */
int cgroup_resize(struct cgroups *all, const char *id, const struct cgroup_limits *limits);
/* The file of group id in hierarchy i through which a process of one thread enters it by writing 0;
 * -ENOENT past the last one. */
int cgroup_procs(const struct cgroups *all, const char *id, size_t i, char *ret, size_t size);
/* The file whose oom_kill line counts; -ENOENT without a memory controller. */
int cgroup_oom_file(const struct cgroups *all, const char *id, char *ret, size_t size);
int cgroup_usage(const struct cgroups *all, const char *id, struct cgroup_usage *ret);

/* The same again and again, with the files kept open: opening costs ten times as much as reading,
 * and 1,000 machines are read in one go. cgroup_probe.c. */
struct cgroup_probe {
    int version;
    int cpu, memory, stat; /* descriptors */
    bool known;
    uint64_t memory_bytes, inactive_bytes; /* as last read */
    uint64_t stat_ns;                      /* mono; when inactive_bytes was read */
};
#define CGROUP_STAT_NS 30000000000u /* memory.stat is dear: read when usage changed, or so old */
int cgroup_probe_open(const struct cgroups *all, const char *id, struct cgroup_probe *ret);
int cgroup_probe_read(struct cgroup_probe *probe, uint64_t now_ns, struct cgroup_usage *ret);
void cgroup_probe_close(struct cgroup_probe *probe);
/* Path of a file of the controller's; returns the cgroup version, 1 or 2, or -ENOENT. */
int cgroup_file(const struct cgroups *all, const char *controller, const char *id,
                const char *v1_name, const char *v2_name, char *ret, size_t size);
/* SIGKILL to whatever is in it. */
void cgroup_kill(const struct cgroups *all, const char *id);
/* 0 when gone, -EBUSY while a process is in it: try again when that ended. */
int cgroup_remove(const struct cgroups *all, const char *id);
/* Calls back with the name of every group below the parent but the shims'. */
void cgroup_each(const struct cgroups *all, void (*found)(void *userdata, const char *id),
                 void *userdata);
