/* A registry without a network, for the tests of the image store: a struct fetcher fed by a table
 * of URL -> answer, one random piece of a body a loop turn; and a builder of images (tars,
 * manifests, indexes) that fills the table. */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fetch.h"
#include "base/str.h"
#include "runtime/image.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <uv.h>

#include <cmocka.h>

#define FAKE_ROUTES_MAX 64
#define FAKE_DIGEST_MAX 80

struct fake_route {
    const char *method;
    char url[512];
    int status; /* 0: result and text instead */
    int result;
    const char *text;
    char *body;
    size_t len;
    const char *challenge;        /* sent with a 401 */
    const char *authorization;    /* required, else 401 with challenge */
    const char *user;             /* required basic credentials */
    char digest[FAKE_DIGEST_MAX]; /* Docker-Content-Digest */
    bool hang;                    /* never ends after half of the body */
    int cuts;                     /* so many times the connection breaks in the middle */
    bool no_ranges;               /* answers 200 with the whole to a request for a part */
    int busy;                     /* so many times 429 is answered */
    const char *retry_after;      /* with it */
    const char *ca_text;          /* of the last request, NULL or as given */
    bool skip_verify;             /* of the last request */
    size_t sent;                  /* of the body, by all answers */
    int hits;
};

struct fetch {
    TAILQ_ENTRY(fetch) link;
    struct fake_route *route;
    struct fetch_ops ops;
    void *userdata;
    int status;
    size_t sent;
    bool headers_sent;
};

TAILQ_HEAD(fake_fetches, fetch);

struct fake {
    struct fetcher fetcher;
    uv_loop_t loop;
    uv_idle_t idle;
    struct fake_fetches fetches;
    struct fake_route routes[FAKE_ROUTES_MAX];
    size_t routes_len;
    size_t chunk_max; /* 0: random up to 4 KiB */
    int requests;
    char last_authorization[256];
};

static inline struct fake_route *fake_route(struct fake *fake, const char *method, const char *url)
{
    for (size_t i = 0; i < fake->routes_len; i++)
        if (str_eq(fake->routes[i].url, url) && str_eq(fake->routes[i].method, method))
            return &fake->routes[i];
    return NULL;
}

static inline struct fake_route *fake_add(struct fake *fake, const char *method, const char *url,
                                          int status, const void *body, size_t len)
{
    struct fake_route *route = fake_route(fake, method, url);

    if (!route) {
        assert_true(fake->routes_len < FAKE_ROUTES_MAX);
        route = &fake->routes[fake->routes_len++];
    }
    free(route->body);
    free((char *)route->ca_text);
    *route = (struct fake_route){.method = method, .status = status, .len = len};
    str_copy(route->url, sizeof(route->url), url);
    route->body = xmalloc(len + 1);
    if (len)
        memcpy(route->body, body, len);
    return route;
}

static inline struct fetch *fake_start(void *impl, const struct fetch_request *request,
                                       const struct fetch_ops *ops, void *userdata)
{
    struct fake *fake = impl;
    struct fetch *f = xcalloc(1, sizeof(*f));
    const char *authorization = NULL;

    size_t from = 0;

    fake->requests++;
    for (size_t i = 0; i < request->headers_len; i++)
        if (str_eq(request->headers[i].name, "Authorization"))
            authorization = request->headers[i].value;
    for (size_t i = 0; i < request->headers_len; i++)
        if (str_eq(request->headers[i].name, "Range"))
            from = strtoul(request->headers[i].value + strlen("bytes="), NULL, 10);
    str_copy(fake->last_authorization, sizeof(fake->last_authorization),
             authorization ? authorization : "");
    f->route = fake_route(fake, request->method ? request->method : "GET", request->url);
    f->ops = *ops;
    f->userdata = userdata;
    f->status = f->route ? f->route->status : 404;
    if (f->route) {
        f->route->hits++;
        free((char *)f->route->ca_text);
        f->route->ca_text = request->ca_text ? xstrdup(request->ca_text) : NULL;
        f->route->skip_verify = request->skip_verify;
        if (from > 0 && !f->route->no_ranges && f->status == 200) {
            f->status = 206;
            f->sent = from;
        }
        if (f->route->authorization && !str_eq(f->route->authorization, authorization))
            f->status = 401;
        if (f->route->user && !str_eq(f->route->user, request->user))
            f->status = 401;
        if (f->route->busy > 0) {
            f->route->busy--;
            f->status = 429;
        }
    }
    TAILQ_INSERT_TAIL(&fake->fetches, f, link);
    return f;
}

static inline void fake_cancel(void *impl, struct fetch *f)
{
    struct fake *fake = impl;

    TAILQ_REMOVE(&fake->fetches, f, link);
    free(f);
}

/* One step of one fetch. Nothing of it is touched after a callback but by a fresh look-up. */
static inline void fake_step(struct fake *fake, struct fetch *f)
{
    struct fake_route *route = f->route;
    struct fetch_ops ops = f->ops;
    void *userdata = f->userdata;
    bool body = route && f->status != 0 && (f->status == route->status || f->status == 206);
    size_t max = fake->chunk_max ? fake->chunk_max : 4096;
    size_t n;
    int r;

    if (!f->headers_sent) {
        f->headers_sent = true;
        if (f->status == 401 && route->challenge)
            ops.on_header(userdata, "www-authenticate", route->challenge);
        if (f->status == 429 && route->retry_after)
            ops.on_header(userdata, "retry-after", route->retry_after);
        if (route && f->status == 200 && route->digest[0])
            ops.on_header(userdata, "docker-content-digest", route->digest);
        return;
    }
    if (route && route->cuts > 0 && f->sent > 0 && f->sent < route->len) {
        route->cuts--;
        TAILQ_REMOVE(&fake->fetches, f, link);
        free(f);
        ops.on_done(userdata, -ECONNRESET, 200, "the connection was reset");
        return;
    }
    if (route && route->hang && f->sent * 2 >= route->len)
        return;
    if (body && f->sent < route->len && !str_eq(route->method, "HEAD")) {
        n = (size_t)(random() % (long)max) + 1;
        if (n > route->len - f->sent)
            n = route->len - f->sent;
        f->sent += n;
        route->sent += n;
        r = ops.on_body(userdata, f->status, route->body + f->sent - n, n);
        if (r >= 0)
            return;
        TAILQ_REMOVE(&fake->fetches, f, link);
        free(f);
        ops.on_done(userdata, r, 200, "the receiver ended the transfer");
        return;
    }
    TAILQ_REMOVE(&fake->fetches, f, link);
    r = f->status == 0 ? route->result : 0;
    ops.on_done(userdata, r, f->status, r < 0 ? route->text : "");
    free(f);
}

static inline void fake_turn(uv_idle_t *idle)
{
    struct fake *fake = idle->data;
    size_t len = 0;
    size_t pick;
    struct fetch *f;

    for (f = TAILQ_FIRST(&fake->fetches); f; f = TAILQ_NEXT(f, link))
        len++;
    if (len == 0)
        return;
    pick = (size_t)random() % len;
    f = TAILQ_FIRST(&fake->fetches);
    while (pick-- > 0)
        f = TAILQ_NEXT(f, link);
    fake_step(fake, f);
}

static inline void fake_open(struct fake *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->fetcher = (struct fetcher){.start = fake_start, .cancel = fake_cancel, .impl = fake};
    TAILQ_INIT(&fake->fetches);
    assert_int_equal(uv_loop_init(&fake->loop), 0);
    uv_idle_init(&fake->loop, &fake->idle);
    fake->idle.data = fake;
    uv_idle_start(&fake->idle, fake_turn);
}

static inline void fake_close(struct fake *fake)
{
    assert_true(TAILQ_EMPTY(&fake->fetches)); /* nothing is left under way */
    uv_close((uv_handle_t *)&fake->idle, NULL);
    uv_run(&fake->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fake->loop), 0);
    for (size_t i = 0; i < fake->routes_len; i++)
        free(fake->routes[i].body);
    for (size_t i = 0; i < fake->routes_len; i++)
        free((char *)fake->routes[i].ca_text);
}

static inline void fake_digest(const void *data, size_t len, char digest[FAKE_DIGEST_MAX])
{
    char hex[DIGEST_HEX_LEN + 1];

    digest_sha256_hex(data, len, hex);
    str_fmt(digest, FAKE_DIGEST_MAX, "sha256:%s", hex);
}

/* An entry of a tar. text NULL: a link to link, or a directory. */
struct fake_file {
    const char *path;
    const char *text;
    size_t len; /* 0: strlen */
    const char *link;
    bool hard;
    mode_t type; /* 0: regular, or a link */
};

#define FAKE_GZIP 1
#define FAKE_ZSTD 2

static inline void fake_tar(struct buf *out, const struct fake_file *files, size_t len, int how)
{
    size_t cap = 4 << 20;
    char *block = xmalloc(cap);
    struct archive *a = archive_write_new();
    size_t used = 0;

    archive_write_set_format_pax_restricted(a);
    if (how == FAKE_GZIP)
        archive_write_add_filter_gzip(a);
    if (how == FAKE_ZSTD)
        archive_write_add_filter_zstd(a);
    assert_int_equal(archive_write_open_memory(a, block, cap, &used), ARCHIVE_OK);
    for (size_t i = 0; i < len; i++) {
        struct archive_entry *e = archive_entry_new();
        size_t size = files[i].text ? (files[i].len ? files[i].len : strlen(files[i].text)) : 0;

        archive_entry_set_pathname(e, files[i].path);
        archive_entry_set_perm(e, 0644);
        archive_entry_set_filetype(e, files[i].type ? files[i].type : S_IFREG);
        archive_entry_set_size(e, (la_int64_t)size);
        if (files[i].link && files[i].hard)
            archive_entry_set_hardlink(e, files[i].link);
        else if (files[i].link) {
            archive_entry_set_filetype(e, S_IFLNK);
            archive_entry_set_symlink(e, files[i].link);
        }
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        if (size)
            assert_int_equal(archive_write_data(a, files[i].text, size), (la_ssize_t)size);
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    buf_init(out, cap);
    buf_add(out, block, used);
    free(block);
}
