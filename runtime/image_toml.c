/* Reader of a TOML subset: one pass over the text, one line's statement after the other. */
#include "runtime/image_toml.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

struct toml {
    const char *at;
    const char *end;
    unsigned line;
    struct arena *arena;
    const char *table[TOML_DEPTH_MAX]; /* that keys are in */
    size_t table_len;
    struct err *err;
};

static int read_value(struct toml *toml, struct toml_value *ret, size_t depth);

static int bad(struct toml *toml, const char *what)
{
    return err_spec(toml->err, -EBADMSG, "%s", what);
}

/* 0 at the end: the text has no NUL. */
static char peek(const struct toml *toml)
{
    return toml->at < toml->end ? *toml->at : '\0';
}

static bool take(struct toml *toml, char c)
{
    if (peek(toml) != c)
        return false;
    toml->at++;
    return true;
}

static void skip_blanks(struct toml *toml)
{
    while (peek(toml) == ' ' || peek(toml) == '\t')
        toml->at++;
}

/* A newline, as \n or \r\n. */
static bool take_newline(struct toml *toml)
{
    if (peek(toml) == '\r' && toml->end - toml->at > 1 && toml->at[1] == '\n')
        toml->at++;
    if (!take(toml, '\n'))
        return false;
    toml->line++;
    return true;
}

static void skip_comment(struct toml *toml)
{
    skip_blanks(toml);
    if (peek(toml) != '#')
        return;
    while (toml->at < toml->end && *toml->at != '\n')
        toml->at++;
}

/* Blanks, comments and newlines, as between the items of an array. */
static void skip_lines(struct toml *toml)
{
    do
        skip_comment(toml);
    while (take_newline(toml));
}

static bool is_bare(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static void add_utf8(struct buf *out, unsigned long code)
{
    if (code < 0x80) {
        buf_addc(out, (char)code);
    } else if (code < 0x800) {
        buf_addc(out, (char)(0xc0 | code >> 6));
        buf_addc(out, (char)(0x80 | (code & 0x3f)));
    } else if (code < 0x10000) {
        buf_addc(out, (char)(0xe0 | code >> 12));
        buf_addc(out, (char)(0x80 | (code >> 6 & 0x3f)));
        buf_addc(out, (char)(0x80 | (code & 0x3f)));
    } else {
        buf_addc(out, (char)(0xf0 | code >> 18));
        buf_addc(out, (char)(0x80 | (code >> 12 & 0x3f)));
        buf_addc(out, (char)(0x80 | (code >> 6 & 0x3f)));
        buf_addc(out, (char)(0x80 | (code & 0x3f)));
    }
}

/* \uXXXX and \UXXXXXXXX: scalar values only, and no NUL. */
static int read_unicode(struct toml *toml, size_t digits, struct buf *out)
{
    unsigned long code = 0;

    for (size_t i = 0; i < digits; i++, toml->at++) {
        const char hex[] = "0123456789abcdef";
        char c = peek(toml);
        const char *found = c ? strchr(hex, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

        if (!found)
            return bad(toml, "a \\u escape needs four hex digits, a \\U escape eight");
        code = code << 4 | (unsigned long)(found - hex);
    }
    if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return bad(toml, "an escape is no Unicode character");
    add_utf8(out, code);
    return 0;
}

static int read_escape(struct toml *toml, struct buf *out)
{
    static const char from[] = "btnfr\"\\";
    static const char to[] = "\b\t\n\f\r\"\\";
    char c = peek(toml);
    const char *found = c ? strchr(from, c) : NULL;

    toml->at += c != '\0';
    if (c == 'u' || c == 'U')
        return read_unicode(toml, c == 'u' ? 4 : 8, out);
    if (!found)
        return bad(toml, "a string has an unknown escape");
    buf_addc(out, to[found - from]);
    return 0;
}

/* "basic" or 'literal', the quote not yet taken. */
static int read_string(struct toml *toml, const char **ret)
{
    struct buf out = BUF_INIT(TOML_STRING_MAX);
    char quote = *toml->at++;
    int r = 0;

    if (toml->end - toml->at > 1 && toml->at[0] == quote && toml->at[1] == quote)
        return bad(toml, "strings of several lines are not read here");
    while (r == 0 && peek(toml) != quote) {
        unsigned char c = (unsigned char)peek(toml);

        if (c == '\0' || c == '\n' || c == '\r')
            r = bad(toml, "a string does not end on its line");
        else if ((c < 0x20 && c != '\t') || c == 0x7f)
            r = bad(toml, "a string has a control character");
        else if (c == '\\' && quote == '"' && toml->at++)
            r = read_escape(toml, &out);
        else if (buf_addc(&out, *toml->at++) < 0)
            r = bad(toml, "a string is too long");
    }
    if (r == 0 && out.overflow)
        r = bad(toml, "a string is too long");
    if (r == 0) {
        toml->at++;
        *ret = arena_strdup(toml->arena, buf_str(&out));
    }
    buf_free(&out);
    return r;
}

/* a.b."c.d" behind the first *len parts. */
static int read_key(struct toml *toml, const char *path[TOML_DEPTH_MAX], size_t *len)
{
    do {
        const char *start;
        int r = 0;

        skip_blanks(toml);
        start = toml->at;
        if (*len == TOML_DEPTH_MAX)
            return bad(toml, "a key has too many parts");
        if (peek(toml) == '"' || peek(toml) == '\'') {
            r = read_string(toml, &path[*len]);
        } else {
            while (is_bare(peek(toml)))
                toml->at++;
            if (toml->at == start)
                return bad(toml, "a key is missing");
            if (toml->at - start > TOML_STRING_MAX)
                return bad(toml, "a key is too long");
            path[*len] = arena_strndup(toml->arena, start, (size_t)(toml->at - start));
        }
        if (r < 0)
            return r;
        ++*len;
        skip_blanks(toml);
    } while (take(toml, '.'));
    return 0;
}

/* true, false, or a number or date, of which nothing but the alphabet is looked at. */
static int read_word(struct toml *toml, struct toml_value *ret)
{
    const char *start = toml->at;
    size_t len;

    while (is_bare(peek(toml)) || (peek(toml) && strchr("+.:", peek(toml))))
        toml->at++;
    len = (size_t)(toml->at - start);
    if ((len == 4 && strncmp(start, "true", 4) == 0) ||
        (len == 5 && strncmp(start, "false", 5) == 0)) {
        *ret = (struct toml_value){.type = TOML_BOOL, .truth = len == 4};
        return 0;
    }
    if (len == 0)
        return bad(toml, "a value is missing");
    if (!strchr("+-0123456789", *start) &&
        (len != 3 || (strncmp(start, "inf", 3) != 0 && strncmp(start, "nan", 3) != 0)))
        return bad(toml, "a value is no string, boolean, number or list (is it in quotes?)");
    *ret = (struct toml_value){.type = TOML_OTHER};
    return 0;
}

static int read_array(struct toml *toml, struct toml_value *ret, size_t depth)
{
    /* A list in a list is only read over. */
    const char **items =
        depth == 0 ? arena_array(toml->arena, TOML_ITEMS_MAX, sizeof(*items)) : NULL;
    enum toml_type type = TOML_STRINGS;
    size_t len = 0;

    for (;;) {
        struct toml_value item;
        int r;

        skip_lines(toml);
        if (take(toml, ']'))
            break;
        if (len == TOML_ITEMS_MAX)
            return bad(toml, "a list is too long");
        r = read_value(toml, &item, depth + 1);
        if (r < 0)
            return r;
        if (item.type != TOML_STRING)
            type = TOML_OTHER;
        if (items)
            items[len] = item.text;
        len++;
        skip_lines(toml);
        if (!take(toml, ',') && peek(toml) != ']')
            return bad(toml, "a list has no \",\" or \"]\" behind an item");
    }
    *ret = (struct toml_value){.type = type, .items = items, .items_len = len};
    return 0;
}

/* { a = 1, b = "c" }, on one line. */
static int read_inline_table(struct toml *toml, struct toml_value *ret, size_t depth)
{
    const char *path[TOML_DEPTH_MAX];
    bool more = false;

    skip_blanks(toml);
    while (more || !take(toml, '}')) {
        struct toml_value value;
        size_t len = 0;
        int r = read_key(toml, path, &len);

        if (r == 0 && !take(toml, '='))
            r = bad(toml, "a key has no \"=\" behind it");
        if (r == 0)
            r = read_value(toml, &value, depth + 1);
        if (r < 0)
            return r;
        skip_blanks(toml);
        more = take(toml, ',');
        if (!more && peek(toml) != '}')
            return bad(toml, "an inline table has no \",\" or \"}\" behind a value");
    }
    *ret = (struct toml_value){.type = TOML_OTHER};
    return 0;
}

static int read_value(struct toml *toml, struct toml_value *ret, size_t depth)
{
    skip_blanks(toml);
    if (depth == TOML_DEPTH_MAX)
        return bad(toml, "values are nested too deeply");
    if (peek(toml) == '"' || peek(toml) == '\'') {
        *ret = (struct toml_value){.type = TOML_STRING};
        return read_string(toml, &ret->text);
    }
    if (take(toml, '['))
        return read_array(toml, ret, depth);
    if (take(toml, '{'))
        return read_inline_table(toml, ret, depth);
    return read_word(toml, ret);
}

/* [a."b"], the first bracket taken. */
static int read_table(struct toml *toml, const struct toml_ops *ops, void *userdata)
{
    int r;

    if (peek(toml) == '[')
        return bad(toml, "arrays of tables ([[..]]) are not read here");
    toml->table_len = 0;
    r = read_key(toml, toml->table, &toml->table_len);
    if (r < 0)
        return r;
    if (!take(toml, ']'))
        return bad(toml, "a table's name has no \"]\" behind it");
    return ops->on_table(userdata, toml->table, toml->table_len, toml->err);
}

static int read_pair(struct toml *toml, const struct toml_ops *ops, void *userdata)
{
    const char *path[TOML_DEPTH_MAX];
    size_t len = toml->table_len;
    struct toml_value value;
    int r;

    memcpy(path, toml->table, len * sizeof(*path));
    r = read_key(toml, path, &len);
    if (r == 0 && !take(toml, '='))
        r = bad(toml, "a key has no \"=\" behind it");
    if (r == 0)
        r = read_value(toml, &value, 0);
    return r < 0 ? r : ops->on_value(userdata, path, len, &value, toml->err);
}

static int read_line(struct toml *toml, const struct toml_ops *ops, void *userdata)
{
    int r = 0;

    skip_blanks(toml);
    if (take(toml, '['))
        r = read_table(toml, ops, userdata);
    else if (peek(toml) && !strchr("#\r\n", peek(toml)))
        r = read_pair(toml, ops, userdata);
    if (r < 0)
        return r;
    skip_comment(toml);
    if (toml->at < toml->end && !take_newline(toml))
        return bad(toml, "there is something behind the value");
    return 0;
}

int toml_read(const char *text, size_t len, const char *file, struct arena *arena,
              const struct toml_ops *ops, void *userdata, struct err *err)
{
    struct toml toml = {.at = text, .end = text + len, .line = 1, .arena = arena, .err = err};

    if (len > TOML_TEXT_MAX)
        return err_spec(err, -EFBIG, "%s: more than %d bytes", file, TOML_TEXT_MAX);
    if (len && memchr(text, '\0', len))
        return err_spec(err, -EBADMSG, "%s: it is no text", file);
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        toml.at += 3;
    while (toml.at < toml.end) {
        unsigned line = toml.line;
        int r = read_line(&toml, ops, userdata);

        if (r < 0) {
            (void)err_wrap(err, "%s:%u", file, toml.line > line ? toml.line : line);
            return r;
        }
    }
    return 0;
}
