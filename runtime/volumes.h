/* Volumes on this host: their directories, what of them goes into a guest's initrd, and whose they
 * are. All of it blocking, for a worker. Not here: which volume a Pod has and what is in it
 * (provider/prepare*.c). */
#pragma once

#include "runtime/payload.h"

#include <stdint.h>

#define VOLUMES_COPY_MAX \
    (64u * 1024 * 1024)          /* of host files, into one initrd: it is guest memory */
#define VOLUMES_FILES_MAX 10000u /* of them */
#define VOLUMES_GIVE_MAX 200000u /* a second of work at most */
#define VOLUMES_DEPTH_MAX 64u

enum volumes_source {
    VOLUMES_FILES, /* files, in memory */
    VOLUMES_EMPTY,
    VOLUMES_HOST, /* a file or directory of the host */
};

struct volumes_mount {
    const char *volume; /* its name, for errors */
    const char *path;   /* in the guest, absolute */
    enum volumes_source source;
    const struct payload_file *files;
    size_t files_len;
    const char *host_path; /* VOLUMES_HOST: below one of the prefixes */
    const char *host_type; /* as the API's HostPathType; "": anything */
    const char *sub_path;  /* NULL: the whole volume */
    const char *dir;       /* shared: where the volume's own files are, or are to be; else NULL */
    bool shared;           /* by a share of the VMM, else copied into the initrd */
    bool read_only;
    bool memory;        /* VOLUMES_EMPTY: dir is to be a tmpfs ... */
    int64_t size_limit; /* ... of so many bytes; -1: no limit */
    char *share;        /* result, malloc'd: the directory to be shared */
};

struct volumes_job {
    struct volumes_mount *mounts;
    size_t mounts_len;
    const struct payload_file *extra; /* more files for the initrd, paths from the root */
    size_t extra_len;
    const char *const *host_prefixes;
    size_t host_prefixes_len;
    const char *initrd; /* the image's; NULL: none is to be made */
    const char *out;    /* where the new one goes */
    bool concatenates;  /* the guest takes compressed archives and several: Linux */
    uint32_t vmm_uid;   /* 0: the VMM has the agent's rights */
};

/* 0, or the sentence for the Pod's owner. Of a volume, that is the kubelet's FailedMount text where
 * there is one. */
int volumes_run(struct volumes_job *job, struct err *err);
/* Only the files that a running guest sees: what is new in them. */
int volumes_refresh(const struct volumes_job *job, gid_t gid, struct err *err);

/* dir, and what is in it, for the machine's user alone: dir becomes root:gid 0750, below it what
 * belongs to root gets the group, what belonged to the user before it the new one. Neither follows
 * symbolic links nor touches what is another's. */
int volumes_give(const char *dir, uint32_t uid, gid_t gid, struct err *err);
/* Unmounts and removes everything of a Pod; absent is fine. */
int volumes_remove(const char *dir, struct err *err);

/* volumes_path.c. A name below dir as a guest means it, without leaving dir by ".." or symbolic
 * links: an O_PATH descriptor, or negative errno (-EXDEV: it leads out). create: missing
 * directories are made. */
int volumes_open_below(const char *dir, const char *sub_path, bool create);
bool volumes_sub_path_ok(const char *sub_path);
/* The kubelet's check of spec.volumes[].hostPath.type; makes what *OrCreate asks for. */
int volumes_check_host(const char *path, const char *type, const char *const *prefixes,
                       size_t prefixes_len, struct err *err);
