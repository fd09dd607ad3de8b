/* Where an image's documents and layers are asked for: the mirrors, CAs and servers that an
 * operator writes down in containerd's layout (its docs/hosts.md), <dir>/<host[:port]>/hosts.toml.
 * Called by image_registry.c at each request, so that an edit needs no restart. */
#pragma once

#include "runtime/image_name.h"

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct buf;
struct err;

#define HOSTS_MIRRORS_MAX 16
#define HOSTS_CA_MAX 16
#define HOSTS_CA_TEXT_MAX (1024 * 1024) /* all CAs of one host; the system's are 220 KiB */
#define HOSTS_IGNORED_MAX 200

enum image_can {
    IMAGE_CAN_RESOLVE = 1, /* say which digest a tag is */
    IMAGE_CAN_PULL = 2,    /* give what a digest names */
};

/* One server that is asked. Strings are in the arena. */
struct image_endpoint {
    const char *base; /* "https://mirror:5000/v2", before /<repository>/manifests/..; NULL: the
                       * registry itself, found by its name */
    const char *host; /* host[:port] of base; NULL as base */
    unsigned can;     /* enum image_can */
    const char *ca[HOSTS_CA_MAX]; /* absolute paths */
    size_t ca_len;                /* 0: CAs as without the file */
    bool skip_verify;
    /* The reader's: */
    const char *url; /* as written */
    bool override_path;
    bool tabled;
    unsigned seen; /* keys, so that none comes twice */
};

struct image_hosts {
    const char *file;                                 /* NULL: there is none for this registry */
    struct image_endpoint mirrors[HOSTS_MIRRORS_MAX]; /* in the file's order */
    size_t mirrors_len;
    struct image_endpoint server;    /* asked last */
    char ignored[HOSTS_IGNORED_MAX]; /* keys that mean nothing here: "client, header"; or "" */
};

/* The text of a hosts.toml; dir: what CA paths are relative to. -EBADMSG and "file:line: ..". */
int hosts_read(const char *text, size_t len, const char *file, const char *dir, struct arena *arena,
               struct image_hosts *ret, struct err *err);
/* What <root> says of the registry: <host>_<port>_, <host>:<port> or _default, the first that is
 * there; of a directory without hosts.toml its *.crt are the registry's CAs. root NULL, or nothing
 * there: the registry itself. Fails with a sentence that names the file. */
int hosts_load(const char *root, const char *host, struct arena *arena, struct image_hosts *ret,
               struct err *err);
/* The endpoint's CAs, one text of PEM; appended to out. */
int hosts_read_ca(const struct image_endpoint *endpoint, struct buf *out, struct err *err);
/* Whether an endpoint is the registry of the name: what is the user's for it may be told to it. */
bool hosts_is_origin(const struct image_endpoint *endpoint, const struct image_name *name);
