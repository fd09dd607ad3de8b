/* The state directory: one file per Pod, written atomically, with a format version, the boot id and
 * a check sum. A file that is truncated, foreign or from another version is set aside (renamed to
 * *.bad, at most STATEDIR_BAD_MAX kept) with a log line by the caller, never fatal. One agent at a
 * time: the directory is locked. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;
struct statedir;

#define STATEDIR_RECORD_MAX (1024 * 1024) /* spec and observation of one Pod */
#define STATEDIR_BAD_MAX 32

/* -EWOULDBLOCK: another agent holds it. */
int statedir_open(const char *path, struct statedir **ret, struct err *err);
void statedir_close(struct statedir *dir);

int statedir_save(struct statedir *dir, const char *uid, const void *data, size_t len,
                  struct err *err);
/* Absent is success. */
int statedir_remove(struct statedir *dir, const char *uid, struct err *err);

struct statedir_record {
    char *uid;  /* malloc'd */
    char *data; /* malloc'd, NUL-terminated */
    size_t len;
    bool same_boot; /* written since the host started: monotonic deadlines are valid */
};
/* All good records; ret_bad counts those set aside. Free with statedir_records_free. */
int statedir_load(struct statedir *dir, struct statedir_record **ret, size_t *ret_len,
                  size_t *ret_bad, struct err *err);
void statedir_records_free(struct statedir_record *records, size_t len);
