/* See client_engine.h. curl forbids adding and removing handles from inside its callbacks, and user
 * code that runs there (a watch's objects, an image's bytes) wants just that: such calls are put on
 * two lists and carried out when curl has returned. Finished transfers are reported outside of
 * curl. */
#include "k8s/client_engine.h"

#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <uv.h>

#define TCP_IDLE_S 15L          /* first keepalive probe after so much silence */
#define TCP_INTERVAL_S 5L       /* and then each */
#define TCP_UNACKED_MS 20000u   /* a link that acknowledges nothing for so long is dead */
#define HOST_CONNECTIONS_MAX 8L /* only where the server speaks no HTTP/2 */
#define CONNECTIONS_MAX 16L     /* idle ones kept, all hosts */

struct engine {
    struct uv_loop_s *loop;
    CURLM *multi;
    uv_timer_t timer;
    unsigned inside;  /* curl is on the stack */
    unsigned busy;    /* settling: do not tear down yet */
    unsigned handles; /* uv handles that are not closed yet */
    size_t transfers;
    bool retired;
    bool closing;
    uint64_t heard_ms;
    struct transfer *starts, *ends;
    CURL *idle[EASY_IDLE_MAX];
    size_t idle_len;
};

struct sock {
    uv_poll_t poll;
    struct engine *engine;
    curl_socket_t fd;
};

static void engine_teardown(struct engine *e);

static void engine_unref(struct engine *e)
{
    if (--e->handles == 0 && e->closing)
        free(e);
}

static void on_timer_closed(uv_handle_t *handle)
{
    engine_unref(handle->data);
}

static void on_sock_closed(uv_handle_t *handle)
{
    struct sock *s = handle->data;

    engine_unref(s->engine);
    free(s);
}

static void free_transfer(struct transfer *t)
{
    struct engine *e = t->engine;

    if (e->idle_len < EASY_IDLE_MAX && !e->retired) {
        curl_easy_reset(t->easy);
        e->idle[e->idle_len++] = t->easy;
    } else {
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    curl_slist_free_all(t->connect_to);
    free(t);
    e->transfers--;
}

static void count_connects(struct transfer *t)
{
    long n = 0;

    if (t->counted || curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &n) != CURLE_OK)
        return;
    t->counted = true;
    if (t->connects && n > 0)
        *t->connects += (uint64_t)n;
}

static void add_now(struct engine *e, struct transfer *t)
{
    t->state = TRANSFER_ON;
    e->inside++;
    (void)curl_multi_add_handle(e->multi, t->easy);
    e->inside--;
}

static void remove_now(struct engine *e, struct transfer *t)
{
    e->inside++;
    (void)curl_multi_remove_handle(e->multi, t->easy);
    e->inside--;
    t->state = TRANSFER_OFF;
}

/* Carries out what was put off. Both lists only grow while curl is on the stack, and nothing here
 * runs user code. */
static void run_put_off(struct engine *e)
{
    while (e->ends) {
        struct transfer *t = e->ends;

        e->ends = t->next;
        remove_now(e, t);
        free_transfer(t);
    }
    while (e->starts) {
        struct transfer *t = e->starts;

        e->starts = t->next;
        if (t->state == TRANSFER_START_LATER)
            add_now(e, t);
        else /* ended in the meantime */
            free_transfer(t);
    }
}

static void settle(struct engine *e)
{
    CURLMsg *msg;
    int left;

    e->busy++;
    run_put_off(e);
    while (!e->closing && (msg = curl_multi_info_read(e->multi, &left))) {
        struct transfer *t = NULL;
        CURLcode code = msg->data.result;
        long status = 0;

        if (msg->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        t->status = (int)status;
        count_connects(t);
        remove_now(e, t);
        t->ops->on_done(t, code);
        run_put_off(e);
    }
    if (--e->busy == 0 && e->retired && e->transfers == 0)
        engine_teardown(e);
}

static void act(struct engine *e, curl_socket_t fd, int events)
{
    int running;

    e->inside++;
    (void)curl_multi_socket_action(e->multi, fd, events, &running);
    e->inside--;
    settle(e);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct sock *s = poll->data;
    int what = 0;

    if (status < 0)
        what = CURL_CSELECT_ERR;
    if (events & UV_READABLE)
        what |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        what |= CURL_CSELECT_OUT;
    act(s->engine, s->fd, what);
}

static void on_timer(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *sockp)
{
    struct engine *e = userdata;
    struct sock *s = sockp;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s) {
            (void)uv_poll_stop(&s->poll);
            uv_close((uv_handle_t *)&s->poll, on_sock_closed);
            (void)curl_multi_assign(e->multi, fd, NULL);
        }
        return 0;
    }
    if (!s) {
        s = xcalloc(1, sizeof(*s));
        s->engine = e;
        s->fd = fd;
        s->poll.data = s;
        if (uv_poll_init_socket(e->loop, &s->poll, fd) < 0) {
            free(s);
            return -1;
        }
        e->handles++;
        (void)curl_multi_assign(e->multi, fd, s);
    }
    if (what & CURL_POLL_IN)
        events |= UV_READABLE;
    if (what & CURL_POLL_OUT)
        events |= UV_WRITABLE;
    return uv_poll_start(&s->poll, events, on_poll) < 0 ? -1 : 0;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *userdata)
{
    struct engine *e = userdata;

    (void)multi;
    if (e->closing)
        return 0;
    if (timeout_ms < 0)
        (void)uv_timer_stop(&e->timer);
    else
        (void)uv_timer_start(&e->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

static int on_curl_sockopt(void *userdata, curl_socket_t fd, curlsocktype purpose)
{
    unsigned ms = TCP_UNACKED_MS;

    (void)userdata;
    /* Best effort: without it a dead link is found by the requests' own time limits. */
    if (purpose == CURLSOCKTYPE_IPCXN)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    return CURL_SOCKOPT_OK;
}

static size_t on_curl_header(char *data, size_t size, size_t n, void *userdata)
{
    struct transfer *t = userdata;

    (void)data;
    t->engine->heard_ms = clock_mono_ms();
    count_connects(t);
    return size * n;
}

static size_t on_curl_data(char *data, size_t size, size_t n, void *userdata)
{
    struct transfer *t = userdata;
    long status = 0;

    t->engine->heard_ms = clock_mono_ms();
    if (t->state != TRANSFER_ON)
        return 0;
    if (!t->ops->on_data)
        return size * n;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    t->status = (int)status;
    if (t->ops->on_data(t, data, size * n) < 0 || t->state != TRANSFER_ON)
        return 0; /* curl ends the transfer with CURLE_WRITE_ERROR */
    return size * n;
}

struct engine *engine_new(struct uv_loop_s *loop)
{
    struct engine *e = xcalloc(1, sizeof(*e));

    e->loop = loop;
    e->multi = curl_multi_init();
    if (!e->multi || uv_timer_init(loop, &e->timer) < 0) {
        if (e->multi)
            (void)curl_multi_cleanup(e->multi);
        free(e);
        return NULL;
    }
    e->handles = 1;
    e->timer.data = e;
    e->heard_ms = clock_mono_ms();
    (void)curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    (void)curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
    (void)curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    (void)curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
    (void)curl_multi_setopt(e->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    (void)curl_multi_setopt(e->multi, CURLMOPT_MAX_HOST_CONNECTIONS, HOST_CONNECTIONS_MAX);
    (void)curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
    return e;
}

void engine_unlimited(struct engine *e)
{
    (void)curl_multi_setopt(e->multi, CURLMOPT_MAX_HOST_CONNECTIONS, 0L);
}

static void engine_teardown(struct engine *e)
{
    if (e->closing)
        return;
    for (size_t i = 0; i < e->idle_len; i++)
        curl_easy_cleanup(e->idle[i]);
    e->idle_len = 0;
    e->inside++;
    (void)curl_multi_cleanup(e->multi); /* closes the connections; calls on_curl_socket */
    e->inside--;
    e->closing = true;
    uv_close((uv_handle_t *)&e->timer, on_timer_closed);
}

void engine_retire(struct engine *e)
{
    e->retired = true;
    if (e->transfers == 0 && e->busy == 0 && e->inside == 0)
        engine_teardown(e);
}

uint64_t engine_heard_ms(const struct engine *e)
{
    return e->heard_ms;
}

struct transfer *transfer_new(struct engine *e, const struct transfer_ops *ops, void *userdata)
{
    struct transfer *t = xcalloc(1, sizeof(*t));
    CURL *easy = e->idle_len > 0 ? e->idle[--e->idle_len] : curl_easy_init();

    if (!easy)
        abort(); /* out of memory, as in xmalloc */
    t->easy = easy;
    t->engine = e;
    t->ops = ops;
    t->userdata = userdata;
    e->transfers++;
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_curl_data);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_curl_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_curl_sockopt);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, TCP_IDLE_S);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, TCP_INTERVAL_S);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "unikubelet/" UNIKUBELET_VERSION);
    return t;
}

void transfer_url(struct transfer *t, const char *url)
{
    /* With TLS the handshake tells whether the server speaks HTTP/2: wait for that rather than open
     * a second connection. Without TLS only the first answer would tell. */
    long wait = strncasecmp(url, "https:", 6) == 0;

    (void)curl_easy_setopt(t->easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, wait);
}

void transfer_header(struct transfer *t, const char *name, const char *value)
{
    char *line = value ? xasprintf("%s: %s", name, value) : xasprintf("%s:", name);
    struct curl_slist *list = curl_slist_append(t->headers, line);

    free(line);
    if (!list)
        abort();
    t->headers = list;
}

void transfer_start(struct transfer *t)
{
    struct engine *e = t->engine;

    t->started_ms = clock_mono_ms();
    if (t->headers)
        (void)curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    if (e->inside == 0) {
        add_now(e, t);
        return;
    }
    struct transfer **last = &e->starts;

    while (*last)
        last = &(*last)->next;
    *last = t;
    t->state = TRANSFER_START_LATER;
}

void transfer_end(struct transfer *t)
{
    struct engine *e;

    if (!t)
        return;
    e = t->engine;
    switch (t->state) {
    case TRANSFER_START_LATER:
        t->state = TRANSFER_END_LATER; /* run_put_off frees it */
        return;
    case TRANSFER_END_LATER:
        return;
    case TRANSFER_ON:
        if (e->inside > 0) {
            t->state = TRANSFER_END_LATER;
            t->next = e->ends;
            e->ends = t;
            return;
        }
        remove_now(e, t);
        break;
    case TRANSFER_NEW:
    case TRANSFER_OFF:
        break;
    }
    free_transfer(t);
    if (e->retired && e->transfers == 0 && e->busy == 0 && e->inside == 0)
        engine_teardown(e);
}

int transfer_errno(CURLcode code)
{
    static const struct {
        CURLcode code;
        int error;
    } table[] = {
        {CURLE_OK, 0},
        {CURLE_URL_MALFORMAT, -EINVAL},
        {CURLE_UNSUPPORTED_PROTOCOL, -EPROTO}, /* also: what answers speaks no HTTP */
        {CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH},
        {CURLE_COULDNT_RESOLVE_PROXY, -EHOSTUNREACH},
        {CURLE_COULDNT_CONNECT, -ECONNREFUSED},
        {CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT},
        {CURLE_TOO_MANY_REDIRECTS, -ELOOP},
        {CURLE_PEER_FAILED_VERIFICATION, -EKEYREJECTED},
        {CURLE_SSL_CACERT_BADFILE, -EKEYREJECTED},
        {CURLE_SSL_CERTPROBLEM, -EKEYREJECTED},
        {CURLE_SSL_CONNECT_ERROR, -EPROTO},
        {CURLE_PARTIAL_FILE, -ECONNRESET},
        {CURLE_GOT_NOTHING, -ECONNRESET},
        {CURLE_RECV_ERROR, -ECONNRESET},
        {CURLE_SEND_ERROR, -ECONNRESET},
        {CURLE_HTTP2, -ECONNRESET},
        {CURLE_HTTP2_STREAM, -ECONNRESET},
        {CURLE_OUT_OF_MEMORY, -ENOMEM},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].code == code)
            return table[i].error;
    }
    return -EIO;
}

const char *transfer_text(const struct transfer *t, CURLcode code)
{
    return t->error[0] ? t->error : curl_easy_strerror(code);
}
