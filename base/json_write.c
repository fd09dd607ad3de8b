/* The writing half of json.h: JSON text straight into a buf, no tree. What comes out is always
 * valid UTF-8 and valid JSON as long as the caller's begins and ends match and the buf did not
 * overflow: the caller checks overflow once, at the end. */
#include "base/json.h"

#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct json_writer *w, const char *text, size_t len)
{
    /* After one refused piece the text is lost anyway; shorter ones must not follow it. */
    if (!w->out->overflow)
        (void)buf_add(w->out, text, len);
}

static void put_escape(struct json_writer *w, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    static const char letters[] = "\b\t\n\f\r\"\\";
    static const char names[] = "btnfr\"\\";
    const char *found = c ? strchr(letters, c) : NULL;
    char text[] = "\\u0000";

    if (found) {
        text[1] = names[found - letters];
        put(w, text, 2);
        return;
    }
    text[4] = digits[c >> 4];
    text[5] = digits[c & 15];
    put(w, text, 6);
}

/* RFC 8259 section 7; runs of plain characters are added in one piece. */
static void put_string(struct json_writer *w, const char *text, size_t len)
{
    size_t start = 0;
    size_t i = 0;

    put(w, "\"", 1);
    while (i < len) {
        unsigned char c = (unsigned char)text[i];
        size_t n = str_utf8_len(text + i, len - i);

        if (n > 0 && c >= 0x20 && c != '"' && c != '\\') {
            i += n;
            continue;
        }
        put(w, text + start, i - start);
        if (n == 0)
            put(w, "\xef\xbf\xbd", 3); /* no UTF-8: U+FFFD, as Go's encoder */
        else
            put_escape(w, c);
        start = ++i;
    }
    put(w, text + start, i - start);
    put(w, "\"", 1);
}

/* The comma and the key before a value. */
static void put_lead(struct json_writer *w, const char *key)
{
    if (w->comma)
        put(w, ",", 1);
    w->comma = true;
    if (!key)
        return;
    put_string(w, key, strlen(key));
    put(w, ":", 1);
}

void jw_begin_object(struct json_writer *w, const char *key)
{
    put_lead(w, key);
    put(w, "{", 1);
    w->comma = false;
}

void jw_end_object(struct json_writer *w)
{
    put(w, "}", 1);
    w->comma = true;
}

void jw_begin_array(struct json_writer *w, const char *key)
{
    put_lead(w, key);
    put(w, "[", 1);
    w->comma = false;
}

void jw_end_array(struct json_writer *w)
{
    put(w, "]", 1);
    w->comma = true;
}

void jw_string(struct json_writer *w, const char *key, const char *value)
{
    if (value)
        jw_string_n(w, key, value, strlen(value));
    else
        jw_null(w, key);
}

void jw_string_n(struct json_writer *w, const char *key, const char *value, size_t len)
{
    put_lead(w, key);
    put_string(w, value, len);
}

void jw_string_opt(struct json_writer *w, const char *key, const char *value)
{
    if (!str_empty(value))
        jw_string(w, key, value);
}

void jw_int(struct json_writer *w, const char *key, int64_t value)
{
    char text[24];

    str_fmt(text, sizeof(text), "%lld", (long long)value);
    jw_raw(w, key, text, strlen(text));
}

void jw_bool(struct json_writer *w, const char *key, bool value)
{
    jw_raw(w, key, value ? "true" : "false", value ? 4 : 5);
}

void jw_double(struct json_writer *w, const char *key, double value)
{
    char text[40];

    if (!isfinite(value)) {
        jw_null(w, key); /* JSON has no word for it */
        return;
    }
    /* The shorter form where it reads back the same. */
    str_fmt(text, sizeof(text), "%.15g", value);
    if (strtod(text, NULL) != value)
        str_fmt(text, sizeof(text), "%.17g", value);
    jw_raw(w, key, text, strlen(text));
}

void jw_null(struct json_writer *w, const char *key)
{
    jw_raw(w, key, "null", 4);
}

void jw_raw(struct json_writer *w, const char *key, const char *text, size_t len)
{
    put_lead(w, key);
    put(w, text, len);
}
