/* The files of a ConfigMap, Secret, projected or downward API volume on this host, written as the
 * kubelet writes them (contract 4.2): a directory of its own for each version, and one symbolic
 * link that is renamed, so that a reader sees all of the old or all of the new. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;

#define PAYLOAD_PATH_MAX 4096

struct payload_file {
    const char *path; /* relative; see payload_path_ok */
    const char *data;
    size_t len;
    mode_t mode; /* permission bits */
};

/* Relative, without "..", not beginning with "..", no empty part, no part over 255 bytes. */
bool payload_path_ok(const char *path);
/* dir is made when it is not there. Files belong to root and group gid, which may read whatever
 * their owner may. Does nothing when all is as it was. *ret_changed may be NULL. Blocking. */
int payload_write(const char *dir, const struct payload_file *files, size_t len, gid_t gid,
                  bool *ret_changed, struct err *err);
