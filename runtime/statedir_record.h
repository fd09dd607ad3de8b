/* The bytes of one state file, apart from any file system: for statedir.c and the fuzz harness.
 * One header line, then the payload:
 *     unikubelet-state 1 <boot id> <payload bytes> <sha256 of "1 <boot id> <bytes>\n" + payload>\n
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct buf;

#define STATEDIR_BOOT_ID_LEN 36
#define STATEDIR_HEADER_MAX 160

/* boot_id: STATEDIR_BOOT_ID_LEN hex digits and dashes. -ENOBUFS when out is too small. */
int statedir_encode(const char *boot_id, const void *data, size_t len, struct buf *out);
/* Points into text. -EBADMSG: truncated, foreign, another version or damaged. */
int statedir_decode(const char *text, size_t text_len, const char *boot_id, const char **ret_data,
                    size_t *ret_len, bool *ret_same_boot);
/* ^[A-Za-z0-9-]{1,64}$: what may become a part of a file name. */
bool statedir_uid_ok(const char *uid);
