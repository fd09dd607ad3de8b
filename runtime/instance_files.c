/* Parsers and writer of key=value files, see instance_files.h. Strict where identity hangs on it (a
 * missing key, a value too long), tolerant of unknown keys: a newer shim or agent may add some. */
#include "runtime/instance_files.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define META_VERSION 1
#define VALUE_MAX 4096 /* the longest is the console's tail in base64 */

struct line {
    char key[16];
    char value[VALUE_MAX];
};

/* Takes one line off; 0 at the end, -EBADMSG for what is no key=value line. */
static int next_line(const char **at, const char *end, struct line *ret)
{
    const char *newline;
    const char *equals;
    size_t key_len;
    size_t value_len;

    if (*at == end)
        return 0;
    newline = memchr(*at, '\n', (size_t)(end - *at));
    equals = newline ? memchr(*at, '=', (size_t)(newline - *at)) : NULL;
    if (!equals)
        return -EBADMSG;
    key_len = (size_t)(equals - *at);
    value_len = (size_t)(newline - equals - 1);
    if (key_len == 0 || key_len >= sizeof(ret->key) || value_len >= sizeof(ret->value) ||
        memchr(*at, '\0', (size_t)(newline - *at)))
        return -EBADMSG;
    memcpy(ret->key, *at, key_len);
    ret->key[key_len] = '\0';
    memcpy(ret->value, equals + 1, value_len);
    ret->value[value_len] = '\0';
    *at = newline + 1;
    return 1;
}

static int take_string(const char *value, char *dst, size_t size)
{
    if (strlen(value) >= size)
        return -EBADMSG;
    memcpy(dst, value, strlen(value) + 1);
    return 0;
}

static int take_u32(const char *value, uint32_t max, uint32_t *ret)
{
    uint64_t number;

    if (str_to_u64(value, &number) < 0 || number > max)
        return -EBADMSG;
    *ret = (uint32_t)number;
    return 0;
}

static int take_base64(const char *value, char *dst, size_t size)
{
    CLEANUP(free) char *data = NULL;
    size_t len = 0;

    if (str_unbase64(value, strlen(value), &data, &len) < 0 || len >= size)
        return -EBADMSG;
    for (size_t i = 0; i < len; i++)
        dst[i] = data[i] ? data[i] : '?';
    dst[len] = '\0';
    return 0;
}

bool instance_id_ok(const char *id)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-";
    size_t len = strlen(id);

    return len > 0 && len <= INSTANCE_ID_MAX && strspn(id, allowed) == len;
}

static bool plain(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 127)
            return false;
    }
    return true;
}

int instance_meta_format(const struct instance_meta *meta, struct buf *out)
{
    if (!instance_id_ok(meta->id) || !plain(meta->pod_uid) || !plain(meta->container) ||
        !plain(meta->guest))
        return -EINVAL;
    return buf_addf(
        out,
        "version=%d\nid=%s\npod_uid=%s\ncontainer=%s\nattempt=%" PRIu32 "\nguest=%s\n"
        "board=%d\nmemory_mib=%" PRIu32 "\ndebug_exit=%d\nvmm_uid=%" PRIu32 "\n" SHIM_RECORD_END,
        META_VERSION, meta->id, meta->pod_uid, meta->container, meta->attempt, meta->guest,
        (int)meta->board, meta->memory_mib, meta->debug_exit, meta->vmm_uid);
}

enum {
    META_ID = 1,
    META_POD = 2,
    META_CONTAINER = 4,
    META_ATTEMPT = 8,
    META_GUEST = 16,
    META_BOARD = 32,
    META_ALL = 63,
};

static int take_meta(struct instance_meta *meta, const struct line *line, unsigned *seen)
{
    uint32_t number = 0;
    int r = 0;

    if (str_eq(line->key, "id")) {
        *seen |= META_ID;
        r = take_string(line->value, meta->id, sizeof(meta->id));
        return r == 0 && !instance_id_ok(meta->id) ? -EBADMSG : r;
    }
    if (str_eq(line->key, "pod_uid")) {
        *seen |= META_POD;
        return take_string(line->value, meta->pod_uid, sizeof(meta->pod_uid));
    }
    if (str_eq(line->key, "container")) {
        *seen |= META_CONTAINER;
        return take_string(line->value, meta->container, sizeof(meta->container));
    }
    if (str_eq(line->key, "attempt")) {
        *seen |= META_ATTEMPT;
        return take_u32(line->value, UINT32_MAX, &meta->attempt);
    }
    if (str_eq(line->key, "guest")) {
        *seen |= META_GUEST;
        return take_string(line->value, meta->guest, sizeof(meta->guest));
    }
    if (str_eq(line->key, "memory_mib"))
        return take_u32(line->value, UINT32_MAX, &meta->memory_mib);
    if (str_eq(line->key, "vmm_uid"))
        return take_u32(line->value, UINT32_MAX, &meta->vmm_uid);
    if (str_eq(line->key, "board")) {
        *seen |= META_BOARD;
        r = take_u32(line->value, _BOARD_MAX - 1, &number);
        meta->board = (enum vmm_board)number;
    } else if (str_eq(line->key, "debug_exit")) {
        r = take_u32(line->value, 1, &number);
        meta->debug_exit = number != 0;
    }
    return r;
}

/* Both files begin with the version and end with the mark; between is what take() knows. */
struct file_state {
    bool version;
    bool end;
};

static int take_frame(struct file_state *state, const struct line *line, uint32_t version)
{
    uint32_t number;

    if (!state->version) {
        if (!str_eq(line->key, "version") || take_u32(line->value, UINT32_MAX, &number) < 0 ||
            number != version)
            return -EBADMSG;
        state->version = true;
        return 1;
    }
    if (state->end)
        return -EBADMSG;
    state->end = str_eq(line->key, "end");
    return state->end ? 1 : 0;
}

int instance_meta_parse(const char *text, size_t len, struct instance_meta *ret)
{
    const char *end = text + len;
    struct instance_meta meta = {.attempt = 0};
    struct file_state state = {false, false};
    struct line line;
    unsigned seen = 0;
    int r;

    while ((r = next_line(&text, end, &line)) > 0) {
        r = take_frame(&state, &line, META_VERSION);
        if (r == 0)
            r = take_meta(&meta, &line, &seen);
        if (r < 0)
            return r;
    }
    if (r < 0 || !state.end || (seen & META_ALL) != META_ALL)
        return -EBADMSG;
    *ret = meta;
    return 0;
}

static int take_record(struct instance_record *record, const struct line *line, bool *seen)
{
    int64_t number = 0;
    bool is_number = str_to_i64(line->value, &number) == 0;

    if (str_eq(line->key, "tail"))
        return take_base64(line->value, record->tail, sizeof(record->tail));
    if (str_eq(line->key, "stderr"))
        return take_base64(line->value, record->stderr_tail, sizeof(record->stderr_tail));
    if (str_eq(line->key, "reason"))
        return take_base64(line->value, record->reason, sizeof(record->reason));
    if (str_eq(line->key, "fatal"))
        return take_base64(line->value, record->fatal, sizeof(record->fatal));
    if (str_eq(line->key, "status") || str_eq(line->key, "failed")) {
        bool failed = line->key[0] == 'f';

        if (!is_number || number < INT32_MIN || number > INT32_MAX || (failed && number >= 0))
            return -EBADMSG;
        *seen = true;
        *(failed ? &record->failed : &record->wait_status) = (int)number;
        return 0;
    }
    if (str_eq(line->key, "started") || str_eq(line->key, "finished")) {
        if (!is_number)
            return -EBADMSG;
        *(line->key[0] == 's' ? &record->started_ns : &record->finished_ns) = number;
    } else if (str_eq(line->key, "oom")) {
        record->oom = number == 1;
    }
    return 0;
}

int instance_record_parse(const char *text, size_t len, struct instance_record *ret)
{
    const char *end = text + len;
    struct instance_record record = {.failed = 0};
    struct file_state state = {false, false};
    struct line line;
    bool seen = false;
    int r;

    while ((r = next_line(&text, end, &line)) > 0) {
        r = take_frame(&state, &line, SHIM_PROTO_VERSION);
        if (r == 0)
            r = take_record(&record, &line, &seen);
        if (r < 0)
            return r;
    }
    if (r < 0 || !state.end || !seen)
        return -EBADMSG;
    *ret = record;
    return 0;
}
