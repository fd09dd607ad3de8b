/* The typed wrapper round cJSON: nobody else includes its header. Reading works on a parsed tree
 * that never outlives the callback that parsed it; writing appends text to a buf without a tree.
 * Every getter accepts NULL or a value of another type and then says "absent": input from outside
 * needs no check before each step. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct json; /* a value in a parsed tree */

#define JSON_DEPTH_MAX 64 /* deeper input is refused: the API's own objects stay below 30 */

/* Parses exactly one value; trailing bytes other than white space are an error (-EBADMSG). */
struct json *json_parse(const char *text, size_t len, struct err *err);
void json_free(struct json *root); /* the value that json_parse returned; NULL is accepted */

const struct json *json_get(const struct json *object, const char *key);
/* "a.b.c": object members only. */
const struct json *json_path(const struct json *object, const char *path);
bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);
bool json_is_null(const struct json *value);           /* an explicit null */
const char *json_string(const struct json *value);     /* NULL when it is no string */
bool json_int(const struct json *value, int64_t *ret); /* false when no integer in +-2^53 */
bool json_bool(const struct json *value, bool *ret);
bool json_double(const struct json *value, double *ret);

/* The same on a member. */
const char *json_get_string(const struct json *object, const char *key);
bool json_get_int(const struct json *object, const char *key, int64_t *ret);
bool json_get_bool(const struct json *object, const char *key, bool *ret);

/* Children of an array or object, in order: for (v = json_first(a); v; v = json_next(v)). */
const struct json *json_first(const struct json *value);
const struct json *json_next(const struct json *value);
const char *json_key(const struct json *member); /* NULL in arrays */
size_t json_len(const struct json *value);

/* Compact text of a value, appended. For passing sub-trees on unchanged. */
int json_print(const struct json *value, struct buf *out);

/* Writer. key is NULL inside arrays and for the root. Commas are its own business. */
struct json_writer {
    struct buf *out;
    bool comma; /* the next value needs a comma before it */
};

#define JSON_WRITER(buffer) ((struct json_writer){.out = (buffer)})

void jw_begin_object(struct json_writer *w, const char *key);
void jw_end_object(struct json_writer *w);
void jw_begin_array(struct json_writer *w, const char *key);
void jw_end_array(struct json_writer *w);
void jw_string(struct json_writer *w, const char *key, const char *value); /* NULL value: null */
void jw_string_n(struct json_writer *w, const char *key, const char *value, size_t len);
/* Leaves the member out when value is NULL or "". */
void jw_string_opt(struct json_writer *w, const char *key, const char *value);
void jw_int(struct json_writer *w, const char *key, int64_t value);
void jw_bool(struct json_writer *w, const char *key, bool value);
void jw_double(struct json_writer *w, const char *key, double value);
void jw_null(struct json_writer *w, const char *key);
/* text is JSON already. */
void jw_raw(struct json_writer *w, const char *key, const char *text, size_t len);
