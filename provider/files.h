/* Files below one directory, for readers who may name them: /logs/ of the kubelet server. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct buf;

#define FILES_LOG_ROOT "/var/log"
#define FILES_ENTRIES_MAX 10000 /* of a listing */

struct files_entry {
    int fd; /* the caller's */
    bool is_dir;
    uint64_t size;
};

/* path: "" or begins with a slash. Regular files and directories only; links are followed, and
 * -EACCES when they lead out of root, or it is neither. -ENOENT and others as open(2) has them. */
int files_open(const char *root, const char *path, struct files_entry *ret);
/* As Go's file server writes it: one link a line, directories with a slash, sorted. */
int files_list(int fd, struct buf *out);
