/* Downloads of layers: streamed to a temporary file, hashed on the way, renamed into the store when
 * size and digest are what the manifest says. All pulls that want a blob share one download, made
 * with the first one's credentials; when that fails or leaves, the next one's are tried. */
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/map.h"
#include "base/str.h"
#include "runtime/image_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define RESUMES_MAX 5 /* of one download; its caller backs off and begins anew */

TAILQ_HEAD(wants, image_want);

struct blob {
    struct image_store *store;
    struct wants wants;
    const struct image_want *starter; /* whose name and credentials are used; NULL: it left */
    bool settling;                    /* wants are being told */
    struct registry_call *call;
    char digest[IMAGE_DIGEST_MAX];
    uint64_t size;
    uint64_t got;
    unsigned resumes;
    struct digest *hash;
    char *tmp; /* NULL: no file */
    int fd;
    struct err err; /* our own, when we ended the call */
};

static void blob_start(struct blob *blob);
static void blob_ask(struct blob *blob);

/* Drops what this try has made. */
static void blob_reset(struct blob *blob)
{
    registry_cancel(blob->call);
    blob->call = NULL;
    digest_free(blob->hash);
    blob->hash = NULL;
    if (blob->fd >= 0)
        (void)close(blob->fd);
    blob->fd = -1;
    if (blob->tmp)
        (void)unlink(blob->tmp);
    free(blob->tmp);
    blob->tmp = NULL;
    blob->got = 0;
    blob->resumes = 0;
    blob->err.code = 0;
}

static void blob_free(struct blob *blob)
{
    blob_reset(blob);
    if (map_get(blob->store->blobs, blob->digest) == blob)
        (void)map_remove(blob->store->blobs, blob->digest);
    free(blob);
}

static int on_body(void *userdata, const void *data, size_t len)
{
    struct blob *blob = userdata;
    int r;

    if (blob->err.code < 0)
        return blob->err.code;
    if (blob->got + len > blob->size)
        return err_spec(&blob->err, -EFBIG, "layer %s: more than the %llu bytes of the manifest",
                        blob->digest, (unsigned long long)blob->size);
    r = file_write_all(blob->fd, data, len);
    if (r < 0)
        return disk_write_error("a layer", blob->store->disk.dir, -r, &blob->err);
    digest_add(blob->hash, data, len);
    blob->got += len;
    return 0;
}

/* All bytes are here: are they the right ones? */
static int commit(struct blob *blob, struct err *err)
{
    CLEANUP(free) char *path = disk_blob_path(&blob->store->disk, blob->digest);
    char hex[DIGEST_HEX_LEN + 1];

    if (blob->got != blob->size)
        return err_set(err, -EBADMSG, "layer %s: %llu bytes expected, got %llu", blob->digest,
                       (unsigned long long)blob->size, (unsigned long long)blob->got);
    digest_hex(blob->hash, hex);
    if (!str_eq(hex, image_digest_hex(blob->digest)))
        return err_set(err, -EBADMSG, "layer digest %s expected, got sha256:%s", blob->digest, hex);
    /* Not synced: whoever finds it in the store later verifies it again. */
    if (rename(blob->tmp, path) < 0)
        return disk_write_error("a layer", blob->store->disk.dir, errno, err);
    free(blob->tmp);
    blob->tmp = NULL;
    return 0;
}

/* Ends the download well; a want whose manifest lies about the size is told so. */
static void settle(struct blob *blob)
{
    struct image_want *want;

    (void)map_remove(blob->store->blobs, blob->digest);
    blob->settling = true;
    while ((want = TAILQ_FIRST(&blob->wants))) {
        struct err err = {.code = 0};

        TAILQ_REMOVE(&blob->wants, want, link);
        want->blob = NULL;
        if (want->size != blob->got)
            err_spec(&err, -EBADMSG, "layer %s: %llu bytes expected, got %llu", blob->digest,
                     (unsigned long long)want->size, (unsigned long long)blob->got);
        want->done(want->userdata, err.code < 0 ? &err : NULL);
    }
    blob_free(blob);
}

/* The connection broke in the middle: what came is kept, and hashed already. */
static bool resume(struct blob *blob, const struct err *err)
{
    bool broke = err && (err->code == -ECONNRESET || err->code == -ETIMEDOUT ||
                         err->code == -EPIPE || err->code == -ECONNABORTED);

    if (!broke || blob->err.code < 0 || blob->got == 0 || blob->got >= blob->size ||
        !blob->starter || blob->resumes == RESUMES_MAX)
        return false;
    blob->resumes++;
    blob_ask(blob);
    return true;
}

static void on_done(void *userdata, const struct err *err, const char *digest)
{
    struct blob *blob = userdata;
    struct image_want *first = TAILQ_FIRST(&blob->wants);
    struct err why = {.code = 0};

    (void)digest;
    blob->call = NULL;
    if (resume(blob, err))
        return;
    if (blob->err.code < 0)
        why = blob->err;
    else if (err)
        why = *err;
    else
        (void)commit(blob, &why);
    if (why.code == 0) {
        settle(blob);
        return;
    }
    blob_reset(blob);
    if (!blob->starter) { /* nobody who is left has had a try */
        blob_start(blob);
        return;
    }
    TAILQ_REMOVE(&blob->wants, first, link);
    first->blob = NULL;
    if (TAILQ_EMPTY(&blob->wants))
        blob_free(blob);
    else
        blob_start(blob);
    first->done(first->userdata, &why);
}

static const struct registry_ops ops = {.on_body = on_body, .on_done = on_done};

static void blob_ask(struct blob *blob)
{
    const struct image_want *want = blob->starter;
    CLEANUP(free) char *path = xasprintf("blobs/%s", blob->digest);
    struct registry_request request = {
        .name = want->name,
        .login = want->login,
        .method = "GET",
        .path = path,
        .by_digest = true,
        .from = blob->got,
    };

    blob->call = registry_start(&blob->store->registry, &request, &ops, blob);
}

static void blob_start(struct blob *blob)
{
    struct image_want *want = TAILQ_FIRST(&blob->wants);

    blob->starter = want;
    blob->size = want->size;
    blob->hash = digest_new();
    blob->tmp = disk_tmp_path(&blob->store->disk);
    blob->fd = open(blob->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (blob->fd < 0)
        (void)disk_write_error("a layer", blob->store->disk.dir, errno, &blob->err);
    /* A file that could not be made is told by the first byte: errors come from the loop only. */
    blob_ask(blob);
}

void blob_want(struct image_store *store, struct image_want *want, const char *digest)
{
    struct blob *blob = map_get(store->blobs, digest);
    bool start = !blob;

    if (start) {
        blob = xcalloc(1, sizeof(*blob));
        blob->store = store;
        blob->fd = -1;
        str_copy(blob->digest, sizeof(blob->digest), digest);
        TAILQ_INIT(&blob->wants);
        map_set(store->blobs, digest, blob);
    }
    want->blob = blob;
    TAILQ_INSERT_TAIL(&blob->wants, want, link);
    if (start)
        blob_start(blob);
}

uint64_t blob_got(const struct image_want *want)
{
    return want->blob ? want->blob->got : 0;
}

void blob_unwant(struct image_want *want)
{
    struct blob *blob = want->blob;

    if (!blob)
        return;
    TAILQ_REMOVE(&blob->wants, want, link);
    want->blob = NULL;
    if (blob->starter == want)
        blob->starter = NULL; /* its download goes on for the others */
    if (TAILQ_EMPTY(&blob->wants) && !blob->settling)
        blob_free(blob);
}
