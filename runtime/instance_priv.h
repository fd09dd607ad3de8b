/* What instance*.c share. Not for others: they see instance.h. */
#pragma once

#include "base/err.h"
#include "runtime/instance.h"
#include "runtime/instance_files.h"

#include <sys/types.h>
#include <uv.h>

#define INSTANCE_PATH_MAX 512
#define INSTANCE_BAD_MAX 32   /* directories set aside; more are removed */
#define INSTANCE_KILL_MS 5000 /* a shim that did not end its VMM in so long is killed itself */
#define INSTANCE_LOSS_MS 3000 /* wait for processes of a lost machine to be gone */
#define INSTANCE_GROUP_MS 20  /* between tries to remove a cgroup that is still in use */
#define INSTANCE_GROUP_TRIES 500
#define INSTANCE_GROUP_AGE_S 60 /* older cgroups without a directory are left-overs */
#define INSTANCE_PIDS_MAX 160   /* threads of a VMM: its I/O pool has 64 at most */

enum instance_state {
    INSTANCE_STARTING, /* the shim runs, the VMM does not execute yet as far as we know */
    INSTANCE_RUNNING,
    INSTANCE_LOSING, /* the shim's connection ended without a word: aftermath waits */
    INSTANCE_ENDED,  /* the last callback was made, or is deferred */
};

struct instance {
    uv_poll_t poll; /* on fd, while fd >= 0; then closing */
    struct instances *all;
    struct instance *next; /* in all->list */
    struct instance *prev;
    struct instance *next_deferred;
    const struct instance_ops *ops; /* NULL members are skipped */
    void *userdata;
    const struct guest_ops *guest;
    struct vmm_control *control; /* while a stop is being asked for */
    uv_timer_t *kill_timer;      /* NULL: no kill under way */
    struct aftermath *aftermath; /* while LOSING */
    int fd;                      /* to the shim; -1: none */
    pid_t shim_pid;              /* 0: unknown */
    pid_t vmm_pid;               /* 0: unknown */
    enum instance_state state;
    enum vmm_board board;
    uint32_t memory_mib;
    uint32_t vmm_uid; /* 0: unknown, or the agent's */
    bool child;       /* the shim is our child: it must be reaped */
    bool debug_exit;
    bool stop_asked;
    bool deferred;
    bool poll_open; /* the loop has the handle, closing or not */
    bool released;  /* by its user; freed when the loop has let go too */
    char id[INSTANCE_ID_MAX + 1];
};

/* A cgroup that could not be removed yet. */
struct stale_group {
    struct stale_group *next;
    int tries;
    char id[INSTANCE_ID_MAX + 1];
};

struct instances {
    struct uv_loop_s *loop;
    struct instance_config config; /* strings are ours */
    struct cgroups *cgroups;       /* NULL: none */
    char cgroup_error[ERR_TEXT_MAX];
    uint32_t kvm_gid;
    struct instance *list;
    struct instance *deferred;
    struct aftermath *aftermaths;
    struct stale_group *stale;
    uv_timer_t deferred_timer;
    uv_timer_t group_timer;
    size_t refs; /* uv handles that still point here, and one until instances_close */
};

void instances_unref(struct instances *all);

/* dir/id/file; -ENAMETOOLONG. */
int instance_path(const struct instances *all, const char *id, const char *file, char *ret,
                  size_t size);
/* Reads and parses; -ENOENT, -EBADMSG. */
int instance_read_meta(const struct instances *all, const char *id, struct instance_meta *ret);
int instance_read_record(const struct instances *all, const char *id, struct instance_record *ret);

/* The group of a VMM that runs as this user; 0: the agent's. */
uint32_t instance_group(const struct instances *all, uint32_t uid);
/* instance_start.c: files, socket, cgroup and shim process of a new machine. The connection, the
 * shim's pid and the VMM's user are returned; all is undone on failure. */
int instance_start(struct instances *all, const struct instance_spec *spec, int *ret_fd,
                   pid_t *ret_pid, uint32_t *ret_uid, struct err *err);

/* instance_find.c: -ENOENT or -ECONNREFUSED: no shim. */
int instance_connect(const struct instances *all, const char *id);
int instance_command(int fd, enum shim_type type, int value);
/* Removes the cgroup now or in a while. */
void instance_drop_group(struct instances *all, const char *id);
void instance_sweep_groups(struct instances *all);
void instance_forget_groups(struct instances *all);

/* instance_after.c: waits until a shim (and VMM) is gone, reaps, and then concludes the instance.
 * instance NULL: only reap. */
void aftermath_start(struct instances *all, struct instance *instance, pid_t shim, pid_t vmm,
                     bool child);
void aftermath_cancel_all(struct instances *all);
/* Detaches the instance; reaping goes on. */
void aftermath_forget(struct aftermath *aftermath);

/* The end of an instance from its record, or its loss: makes the last callback. */
void instance_conclude(struct instance *instance);
