/* One running machine through its unikubelet-shim. The shim is started detached and outlives us;
 * its directory (below config.dir, named by the instance id) holds: shim.sock, control.sock, meta
 * (key= value lines), exit (written once, atomically, when the VMM ended), vmm.log (its standard
 * error). */
#pragma once

#include "runtime/guest.h"

struct cgroup_usage;
struct uv_loop_s;
struct err;

struct instance_config {
    const char *dir;  /* /run/unikubelet/i */
    const char *shim; /* path of the binary */
    const struct vmm_ops *vmm;
    struct vmm_config vmm_config;
    uint32_t vmm_uid; /* the VMM runs as this user and group; 0: as the agent */
    uint32_t vmm_gid;
    uint32_t vmm_uids;      /* above 1: users from vmm_uid on, each machine one of its own (and the
                               group of that number), so that none can signal or trace another */
    uint32_t log_bytes_max; /* a log file grows no larger, a further one is begun; 0: no limit */
    uint32_t log_files_max; /* 2 to 64: the oldest goes */
    const char *cgroup;     /* parent below each controller, "unikubelet"; NULL: no cgroups */
};

struct instances;
struct instance;

struct instance_spec {
    const char *id;      /* 32 hex digits, unique for ever */
    const char *pod_uid; /* kept in meta, for re-adoption and orphan search */
    const char *container;
    uint32_t attempt;
    const char *netns;    /* path; NULL: no network */
    const char *log_path; /* CRI log file, <attempt>.log; directories are made, logs of attempts
                             before the last one removed */
    const struct guest_ops *guest;
    /* Called once the VMM's user is chosen, before anything is started: files become its own. NULL:
     * there are none. */
    int (*give)(void *userdata, uint32_t uid, uint32_t gid, struct err *err);
    void *give_userdata;
    struct vmm_machine machine;
    uint64_t memory_limit_bytes; /* of the cgroup: guest and VMM; 0: none */
    int64_t cpu_limit_milli;     /* -1: none */
    int64_t cpu_request_milli;   /* -1: none */
};

struct instance_end {
    struct guest_exit exit;
    bool oom;           /* the machine's cgroup killed it */
    const char *tail;   /* the console's last SHIM_TAIL_MAX bytes; valid in the callback */
    int64_t started_ms; /* unix */
    int64_t finished_ms;
};

struct instance_ops {
    /* The VMM executes. */
    void (*on_running)(void *userdata, int64_t started_unix_ms);
    /* Could not be started; the instance is spent. */
    void (*on_failed)(void *userdata, const struct err *err);
    /* Ended. Exactly one of on_failed, on_exit, on_lost is the last callback. */
    void (*on_exit)(void *userdata, const struct instance_end *end);
    /* The shim is gone without an exit record: killed, or the host was reset. */
    void (*on_lost)(void *userdata);
};

int instances_open(struct uv_loop_s *loop, const struct instance_config *config,
                   struct instances **ret, struct err *err);
/* What ACCEL_AUTO came to, once vmm->probe has said so; before the first launch. */
void instances_set_accel(struct instances *all, enum vmm_accel accel);
/* Whether machines can be started as far as it is not the VMM's business: the shim is a program,
 * and the tap's device is there. The text is for the Node's Ready condition. */
int instances_check(const struct instances *all, bool network, struct err *err);
/* Why machines run without cgroups although config.cgroup is set; NULL: they do not. */
const char *instances_cgroup_error(const struct instances *all);
/* Leaves all machines running. The loop must turn once more to free everything. */
void instances_close(struct instances *all);

/* Never calls back before it returned. Strings of spec are copied. */
int instance_launch(struct instances *all, const struct instance_spec *spec,
                    const struct instance_ops *ops, void *userdata, struct instance **ret,
                    struct err *err);
/* What is on this host, from the directories alone; meta that cannot be read is set aside as
 * <id>.bad and its shim killed. */
struct instance_found {
    char id[72];
    char pod_uid[64];
    char container[64];
    uint32_t attempt;
    bool running; /* the shim answers */
};
int instances_find(struct instances *all, struct instance_found **ret, size_t *ret_len,
                   struct err *err);
/* Takes a found one over: on_running (again, with the original time) or on_exit/on_lost follows. */
int instance_adopt(struct instances *all, const char *id, const struct instance_ops *ops,
                   void *userdata, struct instance **ret, struct err *err);

/* Ends one that nobody wants to hear of, however stuck; its directory may be removed meanwhile. */
int instance_end_stray(struct instances *all, const char *id, struct err *err);

/* Asks by the guest's own channel; -ENOTSUP when it has none (kill instead). */
int instance_stop(struct instance *instance);
/* SIGKILL to the VMM, through the shim; on_exit follows. Kills a shim that does not answer. */
void instance_kill(struct instance *instance);
/* Another CPU limit and weight, as in instance_spec; without cgroups there is nothing to limit. */
int instance_resize(struct instance *instance, int64_t cpu_limit_milli, int64_t cpu_request_milli);
/* After log_path was renamed: the console goes on in a new file of that name. -ESRCH: it ended. */
int instance_reopen_log(struct instance *instance);
/* Forgets the handle; the machine, if any, is untouched. */
void instance_release(struct instance *instance);
/* Removes the directory and cgroup of an ended one. */
int instance_remove(struct instances *all, const char *id, struct err *err);
/* The group that the VMM runs as; 0: the agent's. */
uint32_t instance_gid(const struct instance *instance);
/* Pid of the VMM, 0 when unknown. For statistics. */
int instance_pid(const struct instance *instance);
/* From the machine's cgroup; -ENODEV without one. */
int instance_usage(const struct instance *instance, struct cgroup_usage *ret);
struct cgroup_probe;
/* For asking often; close it before the instance is released. -ENODEV without a cgroup. */
int instance_probe(const struct instance *instance, struct cgroup_probe *ret);
