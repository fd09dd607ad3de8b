/* Encoding and checking of one state file. Pure: no file system, no clock. A record is either whole
 * and ours or it is refused: the check sum covers the header's fields too, so that no single
 * damaged byte can turn into another boot's deadlines. Called by statedir.c. */
#include "runtime/statedir_record.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/str.h"
#include "runtime/statedir.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MAGIC "unikubelet-state"
#define VERSION "1"

static void record_sum(const char *boot_id, const void *data, size_t len,
                       char hex[DIGEST_HEX_LEN + 1])
{
    struct digest *digest = digest_new();
    char fields[STATEDIR_HEADER_MAX];

    str_fmt(fields, sizeof(fields), VERSION " %s %zu\n", boot_id, len);
    digest_add(digest, fields, strlen(fields));
    if (len)
        digest_add(digest, data, len);
    digest_hex(digest, hex);
    digest_free(digest);
}

static bool boot_id_ok(const char *text)
{
    return strlen(text) == STATEDIR_BOOT_ID_LEN &&
           strspn(text, "0123456789abcdef-") == STATEDIR_BOOT_ID_LEN;
}

int statedir_encode(const char *boot_id, const void *data, size_t len, struct buf *out)
{
    char hex[DIGEST_HEX_LEN + 1];
    int r;

    if (!boot_id_ok(boot_id))
        return -EINVAL;
    if (len > STATEDIR_RECORD_MAX)
        return -EFBIG;
    record_sum(boot_id, data, len, hex);
    r = buf_addf(out, MAGIC " " VERSION " %s %zu %s\n", boot_id, len, hex);
    if (r == 0 && len)
        r = buf_add(out, data, len);
    return r;
}

/* Cuts the next word of the header line; NULL when there is none. */
static char *next_word(char **line)
{
    char *word = *line;
    char *end;

    if (!word || *word == '\0')
        return NULL;
    end = strchr(word, ' ');
    if (end)
        *end++ = '\0';
    *line = end;
    return word;
}

int statedir_decode(const char *text, size_t text_len, const char *boot_id, const char **ret_data,
                    size_t *ret_len, bool *ret_same_boot)
{
    const char *newline = memchr(text, '\n', text_len);
    size_t line_len = newline ? (size_t)(newline - text) : 0;
    char line[STATEDIR_HEADER_MAX];
    char hex[DIGEST_HEX_LEN + 1];
    char *rest = line;
    const char *boot;
    const char *size;
    const char *sum;
    uint64_t len;

    if (!newline || line_len >= sizeof(line) || memchr(text, '\0', line_len))
        return -EBADMSG;
    memcpy(line, text, line_len);
    line[line_len] = '\0';
    if (!str_eq(next_word(&rest), MAGIC) || !str_eq(next_word(&rest), VERSION))
        return -EBADMSG;
    boot = next_word(&rest);
    size = next_word(&rest);
    sum = next_word(&rest);
    if (!boot || !size || !sum || rest || !boot_id_ok(boot) || str_to_u64(size, &len) < 0)
        return -EBADMSG;
    if (len > STATEDIR_RECORD_MAX || len != text_len - line_len - 1)
        return -EBADMSG;
    record_sum(boot, newline + 1, (size_t)len, hex);
    if (!str_eq(sum, hex))
        return -EBADMSG;
    *ret_data = newline + 1;
    *ret_len = (size_t)len;
    *ret_same_boot = str_eq(boot, boot_id);
    return 0;
}

bool statedir_uid_ok(const char *uid)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-";
    size_t len = uid ? strlen(uid) : 0;

    return len >= 1 && len <= 64 && strspn(uid, allowed) == len;
}
