/* /logs/: files below /var/log, as `kubectl get --raw .../proxy/logs/` shows them. What is opened
 * is what was checked: symbolic links may lead anywhere below, and nowhere else. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "provider/endpoints_priv.h"
#include "provider/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 65536

/* A file on its way; sent as it was long when it was opened. */
struct file_stream {
    struct file_stream *next;
    struct endpoints *endpoints;
    struct server_request *request;
    int fd;
    uint64_t left;
    bool ended;
    size_t len, at; /* of chunk: read, and taken by the server */
    char chunk[CHUNK];
};

static void stream_free(struct file_stream *stream)
{
    struct file_stream **at = &stream->endpoints->files;

    while (*at && *at != stream)
        at = &(*at)->next;
    if (*at)
        *at = stream->next;
    (void)close(stream->fd);
    free(stream);
}

void files_free(struct endpoints *endpoints)
{
    while (endpoints->files)
        stream_free(endpoints->files);
}

/* False: the end, or no more for now. */
static bool read_more(struct file_stream *stream)
{
    size_t want = stream->left < CHUNK ? (size_t)stream->left : CHUNK;
    ssize_t n = want > 0 ? read(stream->fd, stream->chunk, want) : 0;

    stream->at = 0;
    stream->len = n > 0 ? (size_t)n : 0;
    stream->left -= stream->len;
    return n > 0;
}

static void on_writable(void *userdata)
{
    struct file_stream *stream = userdata;

    while (!stream->ended) {
        if (stream->at == stream->len && !read_more(stream)) {
            stream->ended = true;
            server_end(stream->request);
            return;
        }
        size_t taken =
            server_write(stream->request, stream->chunk + stream->at, stream->len - stream->at);
        if (taken == 0)
            return;
        stream->at += taken;
    }
}

static void on_closed(void *userdata)
{
    stream_free(userdata);
}

static const struct server_stream_ops stream_ops = {
    .on_writable = on_writable,
    .on_closed = on_closed,
};

static void send_file(struct endpoints *endpoints, struct server_request *request, int fd,
                      uint64_t size)
{
    struct file_stream *stream = xcalloc(1, sizeof(*stream));

    stream->endpoints = endpoints;
    stream->request = request;
    stream->fd = fd;
    stream->left = size;
    stream->next = endpoints->files;
    endpoints->files = stream;
    server_begin(request, 200, "text/plain; charset=utf-8", &stream_ops, stream);
    on_writable(stream);
}

static void send_listing(struct server_request *request, int fd)
{
    struct buf out = BUF_INIT(SERVER_REPLY_MAX);
    int r = files_list(fd, &out);

    if (r == 0) {
        answer_buf(request, "text/html; charset=utf-8", &out);
        return;
    }
    buf_free(&out);
    answer_text(request, 500, "the directory cannot be read\n");
}

/* Links in a listing are relative: without its slash a directory's would lead beside it. */
static void redirect(struct server_request *request, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *to = xasprintf("%s/", slash ? slash + 1 : path);

    server_add_header(request, "Location", to);
    free(to);
    answer_text(request, 301, "");
}

void handle_files(struct endpoints *endpoints, struct server_request *request,
                  char *const *segments, size_t len)
{
    const char *path = server_path(request);
    struct files_entry entry;

    (void)segments;
    (void)len;
    if (server_query(request, "query")) {
        answer_text(request, 501,
                    "node log query is not supported: ask for a file below /logs/ instead\n");
        return;
    }
    int r = files_open(FILES_LOG_ROOT, path + strlen("/logs"), &entry);
    if (r < 0) {
        answer_text(request, r == -EACCES ? 403 : 404,
                    r == -EACCES ? "403 forbidden\n" : "404 page not found\n");
        return;
    }
    if (!entry.is_dir) {
        send_file(endpoints, request, entry.fd, entry.size);
        return;
    }
    if (str_ends(path, "/"))
        send_listing(request, entry.fd);
    else
        redirect(request, path);
    (void)close(entry.fd);
}
