/* Reads urunc's keys. Everything in them is a stranger's: names of files are only ever compared
 * with those of a layer, and held to urunc's own alphabet. */
#include "runtime/image_urunc.h"

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define PREFIX "com.urunc.unikernel."

enum shape { SHAPE_WORD, SHAPE_PATH, SHAPE_TEXT };

static const struct {
    const char *name;
    size_t offset;
    enum shape shape;
} members[] = {
    {"unikernelType", offsetof(struct urunc, type), SHAPE_WORD},
    {"hypervisor", offsetof(struct urunc, hypervisor), SHAPE_WORD},
    {"unikernelVersion", offsetof(struct urunc, version), SHAPE_TEXT},
    {"binary", offsetof(struct urunc, binary), SHAPE_PATH},
    {"initrd", offsetof(struct urunc, initrd), SHAPE_PATH},
    {"block", offsetof(struct urunc, block), SHAPE_PATH},
    {"cmdline", offsetof(struct urunc, cmdline), SHAPE_TEXT},
};

/* urunc's types that are guests here. rumprun, mewz and freebsd are not. */
static const struct {
    const char *type;
    const char *kind;
} kinds[] = {
    {"unikraft", "unikraft"}, {"linux", "linux"}, {"hermit", "hermit"}, {"mirage", "solo5"},
    {"nanos", "nanos"},       {"osv", "osv"},     {"raw", "raw"},
};

static void cleanup_json(struct json **root)
{
    json_free(*root);
}

const char *urunc_guest_kind(const char *type)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq(kinds[i].type, type))
            return kinds[i].kind;
    return NULL;
}

/* urunc: ^[A-Za-z0-9._/-]+$ */
static bool is_plain(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              strchr("._/-", *p)))
            return false;
    return text[0] != '\0';
}

static int take(struct urunc *urunc, const char *key, const char *value, struct arena *arena,
                struct err *err)
{
    if (str_eq(key, "mountRootfs")) {
        urunc->mount_root = str_eq(value, "true") || str_eq(value, "True") || str_eq(value, "1");
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (!str_eq(members[i].name, key) || value[0] == '\0')
            continue;
        if (strlen(value) > URUNC_VALUE_MAX)
            return err_spec(err, -EBADMSG, "%s%s has more than %d bytes", PREFIX, key,
                            URUNC_VALUE_MAX);
        if (members[i].shape != SHAPE_TEXT && !is_plain(value))
            return err_spec(err, -EBADMSG, "%s%s may have letters, digits and . _ / - only", PREFIX,
                            key);
        *(const char **)((char *)urunc + members[i].offset) = arena_strdup(arena, value);
        return 0;
    }
    return 0; /* bootKernel, vAccel and whatever comes: nothing for us */
}

/* unikernelType and binary are what cannot be guessed; the hypervisor is this host's business. */
static int check(const struct urunc *urunc, struct err *err)
{
    if (!urunc->type || !urunc->binary)
        return err_spec(err, -EBADMSG, "the image has urunc's keys, but not %s%s", PREFIX,
                        urunc->type ? "binary" : "unikernelType");
    return 0;
}

int urunc_from_map(const struct json *map, struct arena *arena, struct urunc *ret, struct err *err)
{
    struct urunc urunc = {.type = NULL};
    int r;

    *ret = urunc;
    for (const struct json *m = json_first(map); m; m = json_next(m)) {
        const char *key = json_key(m);

        if (!key || !str_starts(key, PREFIX) || !json_string(m))
            continue;
        urunc.present = true;
        r = take(&urunc, key + strlen(PREFIX), json_string(m), arena, err);
        if (r < 0)
            return r;
    }
    if (!urunc.present)
        return 0;
    r = check(&urunc, err);
    if (r >= 0)
        *ret = urunc;
    return r;
}

/* A value of urunc.json, or what is wrong with it. */
static int take_base64(struct urunc *urunc, const char *key, const char *value, struct arena *arena,
                       struct err *err)
{
    CLEANUP(free) char *text = NULL;
    size_t len = 0;

    if (str_unbase64(value, strlen(value), &text, &len) < 0 || strlen(text) != len)
        return err_spec(err, -EBADMSG, "%s: %s%s is no base64 of a text", URUNC_JSON_PATH, PREFIX,
                        key);
    return take(urunc, key, text, arena, err);
}

int urunc_read(const char *text, size_t len, struct arena *arena, struct urunc *ret,
               struct err *err)
{
    CLEANUP(json) struct json *root = NULL;
    struct urunc urunc = {.present = true};
    int r = 0;

    if (len > URUNC_JSON_BYTES_MAX)
        return err_spec(err, -EFBIG, "%s has more than %d bytes", URUNC_JSON_PATH,
                        URUNC_JSON_BYTES_MAX);
    root = json_parse(text, len, err);
    if (!json_is_object(root))
        return err_spec(err, -EBADMSG, "%s is no JSON object", URUNC_JSON_PATH);
    for (const struct json *m = json_first(root); m && r >= 0; m = json_next(m))
        if (str_starts(json_key(m), PREFIX) && json_string(m))
            r = take_base64(&urunc, json_key(m) + strlen(PREFIX), json_string(m), arena, err);
    if (r >= 0)
        r = check(&urunc, err);
    if (r >= 0)
        *ret = urunc;
    return r;
}
