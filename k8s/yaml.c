/* libyaml's events made into a tree that remembers its lines. See yaml.h; read by kubeconfig.c and
 * the agent's configuration. No anchors, aliases or tags: neither file needs them, and they are how
 * a small text becomes a large one. */
#include "k8s/yaml.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define YAML_MEMBERS_MAX 4096 /* of one map: each new key is compared with all before it */

enum kind { KIND_SCALAR, KIND_MAP, KIND_LIST };

struct yaml_node {
    enum kind kind;
    bool plain;
    unsigned line;
    const char *key;    /* NULL in lists */
    const char *scalar; /* KIND_SCALAR */
    struct yaml_node *first, *last, *next;
};

struct yaml_doc {
    struct arena *arena;
    struct yaml_node *root;
};

struct reader {
    const char *name;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; freed by next_event */
    bool has_event;
    unsigned depth;
    struct arena *arena;
    struct err *err;
};

static int read_node(struct reader *r, struct yaml_node *node);

static unsigned event_line(const struct reader *r)
{
    return (unsigned)r->event.start_mark.line + 1;
}

static int next_event(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = false;
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        const yaml_parser_t *p = &r->parser;

        return err_spec(r->err, -EBADMSG, "%s:%zu: %s%s%s", r->name, p->problem_mark.line + 1,
                        p->context ? p->context : "", p->context ? ", " : "",
                        p->problem ? p->problem : "this is no YAML");
    }
    r->has_event = true;
    return 0;
}

static int refuse(struct reader *r, const char *what)
{
    return err_spec(r->err, -EBADMSG, "%s:%u: %s", r->name, event_line(r), what);
}

static int refuse_extras(struct reader *r, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor)
        return refuse(r, "anchors are not supported");
    if (tag)
        return refuse(r, "tags are not supported");
    return 0;
}

static struct yaml_node *append(struct reader *r, struct yaml_node *parent)
{
    struct yaml_node *node = arena_alloc(r->arena, sizeof(*node));

    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    return node;
}

/* The current event is a map's key. */
static int read_key(struct reader *r, struct yaml_node *map, char **ret)
{
    const char *text;
    size_t len;
    int result;

    if (r->event.type == YAML_ALIAS_EVENT)
        return refuse(r, "aliases are not supported");
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse(r, "a key must be plain text");
    result = refuse_extras(r, r->event.data.scalar.anchor, r->event.data.scalar.tag);
    if (result < 0)
        return result;
    text = (const char *)r->event.data.scalar.value;
    len = r->event.data.scalar.length;
    if (memchr(text, '\0', len))
        return refuse(r, "a key holds a NUL byte");
    for (const struct yaml_node *n = map->first; n; n = n->next) {
        if (strcmp(n->key, text) == 0)
            return err_spec(r->err, -EBADMSG, "%s:%u: \"%s\" is here twice (also on line %u)",
                            r->name, event_line(r), text, n->line);
    }
    *ret = arena_strndup(r->arena, text, len);
    return 0;
}

static int read_map(struct reader *r, struct yaml_node *map)
{
    size_t members = 0;

    for (;;) {
        struct yaml_node *node;
        char *key = NULL;
        unsigned line;
        int result = next_event(r);

        if (result < 0)
            return result;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (++members > YAML_MEMBERS_MAX)
            return refuse(r, "this map has too many members");
        result = read_key(r, map, &key);
        if (result < 0)
            return result;
        line = event_line(r);
        result = next_event(r);
        if (result < 0)
            return result;
        node = append(r, map);
        node->key = key;
        result = read_node(r, node);
        if (result < 0)
            return result;
        node->line = line;
    }
}

static int read_list(struct reader *r, struct yaml_node *list)
{
    for (;;) {
        int result = next_event(r);

        if (result < 0)
            return result;
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        result = read_node(r, append(r, list));
        if (result < 0)
            return result;
    }
}

static int read_scalar(struct reader *r, struct yaml_node *node)
{
    const char *text = (const char *)r->event.data.scalar.value;
    size_t len = r->event.data.scalar.length;

    if (memchr(text, '\0', len))
        return refuse(r, "a value holds a NUL byte");
    node->kind = KIND_SCALAR;
    node->plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->scalar = arena_strndup(r->arena, text, len);
    return 0;
}

/* The current event begins the node. */
static int read_node(struct reader *r, struct yaml_node *node)
{
    const yaml_event_t *e = &r->event;
    int result = 0;

    node->line = event_line(r);
    if (++r->depth > YAML_DEPTH_MAX)
        return refuse(r, "this is nested too deeply");
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        result = refuse_extras(r, e->data.scalar.anchor, e->data.scalar.tag);
        if (result == 0)
            result = read_scalar(r, node);
        break;
    case YAML_MAPPING_START_EVENT:
        node->kind = KIND_MAP;
        result = refuse_extras(r, e->data.mapping_start.anchor, e->data.mapping_start.tag);
        if (result == 0)
            result = read_map(r, node);
        break;
    case YAML_SEQUENCE_START_EVENT:
        node->kind = KIND_LIST;
        result = refuse_extras(r, e->data.sequence_start.anchor, e->data.sequence_start.tag);
        if (result == 0)
            result = read_list(r, node);
        break;
    default:
        result = refuse(r, e->type == YAML_ALIAS_EVENT ? "aliases are not supported"
                                                       : "a value was expected");
        break;
    }
    r->depth--;
    return result;
}

static int read_doc(struct reader *r, struct yaml_doc *doc)
{
    int result;

    while ((result = next_event(r)) == 0) {
        switch (r->event.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_STREAM_END_EVENT:
            return 0;
        case YAML_DOCUMENT_START_EVENT:
            if (doc->root)
                return refuse(r, "a second document begins here; one is expected");
            result = next_event(r);
            if (result < 0)
                return result;
            doc->root = arena_alloc(r->arena, sizeof(*doc->root));
            result = read_node(r, doc->root);
            if (result < 0)
                return result;
            break;
        default:
            return refuse(r, "a document was expected");
        }
    }
    return result;
}

int yaml_parse(const char *name, const char *text, size_t len, struct yaml_doc **ret,
               struct err *err)
{
    struct reader r = {.name = name, .err = err};
    struct yaml_doc *doc;
    int result;

    if (len > YAML_FILE_MAX)
        return err_spec(err, -EFBIG, "%s: larger than %d bytes", name, YAML_FILE_MAX);
    if (!yaml_parser_initialize(&r.parser))
        return err_set(err, -ENOMEM, "%s: out of memory", name);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    doc = xcalloc(1, sizeof(*doc));
    doc->arena = r.arena = arena_new(1024);
    result = read_doc(&r, doc);
    if (r.has_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (result < 0) {
        yaml_doc_free(doc);
        return result;
    }
    *ret = doc;
    return 0;
}

int yaml_load(const char *path, struct yaml_doc **ret, struct err *err)
{
    struct buf text = BUF_INIT(YAML_FILE_MAX);
    int result = file_read(path, &text);

    if (result == -ENOBUFS)
        result = err_spec(err, -EFBIG, "%s: larger than %d bytes", path, YAML_FILE_MAX);
    else if (result < 0)
        result = err_spec(err, result, "%s: %s", path, strerror(-result));
    else
        result = yaml_parse(path, buf_str(&text), text.len, ret, err);
    buf_free(&text);
    return result;
}

void yaml_doc_free(struct yaml_doc *doc)
{
    if (!doc)
        return;
    arena_free(doc->arena);
    free(doc);
}

const struct yaml_node *yaml_root(const struct yaml_doc *doc)
{
    return doc->root;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    if (!yaml_is_map(map))
        return NULL;
    for (const struct yaml_node *n = map->first; n; n = n->next) {
        if (strcmp(n->key, key) == 0)
            return n;
    }
    return NULL;
}

bool yaml_is_map(const struct yaml_node *node)
{
    return node && node->kind == KIND_MAP;
}

bool yaml_is_list(const struct yaml_node *node)
{
    return node && node->kind == KIND_LIST;
}

bool yaml_is_null(const struct yaml_node *node)
{
    return node && node->kind == KIND_SCALAR && node->plain &&
           (node->scalar[0] == '\0' || strcmp(node->scalar, "~") == 0 ||
            strcmp(node->scalar, "null") == 0);
}

bool yaml_is_plain(const struct yaml_node *node)
{
    return node && node->kind == KIND_SCALAR && node->plain;
}

const char *yaml_scalar(const struct yaml_node *node)
{
    return node && node->kind == KIND_SCALAR ? node->scalar : NULL;
}

const struct yaml_node *yaml_first(const struct yaml_node *node)
{
    return node ? node->first : NULL;
}

const struct yaml_node *yaml_next(const struct yaml_node *node)
{
    return node ? node->next : NULL;
}

const char *yaml_key(const struct yaml_node *node)
{
    return node ? node->key : NULL;
}

unsigned yaml_line(const struct yaml_node *node)
{
    return node ? node->line : 0;
}
