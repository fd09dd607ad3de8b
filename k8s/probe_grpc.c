/* gRPC's health check, version 1: one unary call over HTTP/2, whose two messages are small enough
 * to be written and read by hand. HealthCheckRequest { string service = 1; }, HealthCheckResponse
 * { ServingStatus status = 1; } (grpc.io's health checking protocol). */
#include "k8s/probe_priv.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <string.h>
#include <strings.h>

#define SERVING 1
#define CODE_DEADLINE 4
#define CODE_UNIMPLEMENTED 12
#define FRAME_HEAD 5 /* a byte of flags, four of length */
#define FIELD_SERVICE 0x0a
#define FIELD_STATUS 0x08
#define SERVICE_MAX 4096 /* of the name: longer than any that a service would have */

static const char *code_name(int code)
{
    static const char *const names[] = {
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    };

    return code >= 0 && (size_t)code < ARRAY_LEN(names) ? names[code] : "Unknown";
}

static const char *status_name(uint64_t status)
{
    static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};

    return status < ARRAY_LEN(names) ? names[status] : "UNKNOWN";
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded; control characters are not shown. */
static void take_message(struct probe_call *call, const char *data, size_t len)
{
    size_t out = 0;

    for (size_t i = 0; i < len && out < sizeof(call->grpc_message) - 1; i++) {
        unsigned char c = (unsigned char)data[i];

        if (c == '%' && i + 2 < len && hex(data[i + 1]) >= 0 && hex(data[i + 2]) >= 0) {
            c = (unsigned char)(hex(data[i + 1]) * 16 + hex(data[i + 2]));
            i += 2;
        }
        call->grpc_message[out++] = (char)(c < ' ' || c == 0x7f ? ' ' : c);
    }
    call->grpc_message[out] = '\0';
}

/* Headers and trailers alike: a call that fails at once has its status in the first. */
static size_t on_header(char *data, size_t size, size_t n, void *userdata)
{
    static const char status[] = "grpc-status:", message[] = "grpc-message:";
    struct transfer *t = userdata;
    struct probe_call *call = t->userdata;
    size_t whole = size * n, len = whole;
    const char *value = memchr(data, ':', len);
    uint64_t code;
    char text[8];

    while (len > 0 && (data[len - 1] == '\r' || data[len - 1] == '\n'))
        len--;
    if (!value)
        return whole;
    for (value++; value < data + len && *value == ' ';)
        value++;
    size_t value_len = value < data + len ? (size_t)(data + len - value) : 0;
    if (len > sizeof(status) - 1 && strncasecmp(data, status, sizeof(status) - 1) == 0) {
        str_fmt(text, sizeof(text), "%.*s", (int)(value_len < 7 ? value_len : 7), value);
        call->grpc_status = str_to_u64(text, &code) == 0 && code <= 16 ? (int)code : 2;
    } else if (len > sizeof(message) - 1 && strncasecmp(data, message, sizeof(message) - 1) == 0) {
        take_message(call, value, value_len);
    }
    return whole;
}

static int on_body(struct transfer *t, const char *data, size_t len)
{
    struct probe_call *call = t->userdata;

    return buf_add(&call->body, data, len); /* more than the limit is no health check */
}

static bool read_varint(const unsigned char *data, size_t len, size_t *at, uint64_t *ret)
{
    *ret = 0;
    for (unsigned shift = 0; *at < len && shift < 64; shift += 7) {
        unsigned char c = data[(*at)++];

        *ret |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return true;
    }
    return false;
}

/* Steps over a field of a wire type other than ours; false: broken, or of an unknown type. */
static bool skip_field(const unsigned char *data, size_t len, size_t *at, unsigned type)
{
    uint64_t n = 0;

    if (type == 0)
        return read_varint(data, len, at, &n);
    if (type == 2 && !read_varint(data, len, at, &n))
        return false;
    if (type == 1 || type == 5)
        n = type == 1 ? 8 : 4;
    else if (type != 2)
        return false;
    if (n > len - *at)
        return false;
    *at += (size_t)n;
    return true;
}

/* A status that is left out is UNKNOWN. */
bool probe_grpc_read(const char *text, size_t size, uint64_t *ret_status)
{
    const unsigned char *data = (const unsigned char *)text;
    size_t at = FRAME_HEAD, len;
    uint64_t tag;

    *ret_status = 0;
    if (size < FRAME_HEAD || data[0] != 0)
        return false;
    len = ((size_t)data[1] << 24) | ((size_t)data[2] << 16) | ((size_t)data[3] << 8) | data[4];
    if (len != size - FRAME_HEAD)
        return false;
    while (at < size) {
        if (!read_varint(data, size, &at, &tag))
            return false;
        if (tag == FIELD_STATUS ? !read_varint(data, size, &at, ret_status)
                                : !skip_field(data, size, &at, (unsigned)(tag & 7)))
            return false;
    }
    return true;
}

static void finish(struct probe_call *call, enum probe_outcome outcome, CURLcode code,
                   const char *text)
{
    struct probe_answer answer = {
        .outcome = outcome,
        .unheard = code != CURLE_OK && probe_unheard(call, code),
        .result = "failure",
        .text = text,
    };

    probe_finish(call, &answer);
}

/* No answer in HTTP/2: grpc-go tries to connect until its time is over, and says so. */
static void on_broken(struct probe_call *call, CURLcode code)
{
    char text[PROBE_TEXT_MAX], address[OBSERVED_TEXT_MAX], time[32];
    curl_off_t sent_us = 0;

    probe_duration(call->timeout_ms, time, sizeof(time));
    probe_address(call, address, sizeof(address));
    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
    if (code == CURLE_OPERATION_TIMEDOUT && sent_us > 0)
        str_fmt(text, sizeof(text), "timeout: health rpc did not complete within %s", time);
    else
        str_fmt(text, sizeof(text),
                "timeout: failed to connect service \"%s\" within %s: context deadline exceeded",
                address, time);
    finish(call, PROBE_FAILED, code, text);
}

static void on_status(struct probe_call *call, int code, const char *message)
{
    char text[PROBE_TEXT_MAX], time[32];

    probe_duration(call->timeout_ms, time, sizeof(time));
    if (code == CODE_UNIMPLEMENTED)
        str_fmt(text, sizeof(text),
                "error: this server does not implement the grpc health protocol "
                "(grpc.health.v1.Health): %s",
                message);
    else if (code == CODE_DEADLINE)
        str_fmt(text, sizeof(text), "timeout: health rpc did not complete within %s", time);
    else
        str_fmt(text, sizeof(text),
                "error: health rpc probe failed: rpc error: code = %s desc = %s", code_name(code),
                message);
    finish(call, PROBE_FAILED, CURLE_OK, text);
}

static void on_done(struct transfer *t, CURLcode code)
{
    struct probe_call *call = t->userdata;
    char text[PROBE_TEXT_MAX];
    uint64_t status = 0;

    if (code != CURLE_OK && call->grpc_status < 0) {
        on_broken(call, code);
    } else if (t->status != 200 && call->grpc_status < 0) {
        str_fmt(text, sizeof(text), "unexpected HTTP status code received from server: %d",
                t->status);
        on_status(call, t->status == 404 ? CODE_UNIMPLEMENTED : 2, text);
    } else if (call->grpc_status != 0) {
        on_status(call, call->grpc_status < 0 ? 13 : call->grpc_status,
                  call->grpc_status < 0 ? "server closed the stream without sending trailers"
                                        : call->grpc_message);
    } else if (!probe_grpc_read(buf_str(&call->body), call->body.len, &status)) {
        on_status(call, 13, "the answer is no HealthCheckResponse");
    } else if (status != SERVING) {
        str_fmt(text, sizeof(text), "service unhealthy (responded with \"%s\")",
                status_name(status));
        finish(call, PROBE_FAILED, CURLE_OK, text);
    } else {
        finish(call, PROBE_OK, CURLE_OK, "");
    }
}

/* The one message, framed. */
static void add_request(struct buf *out, const char *service)
{
    size_t len = strlen(service), size = 0;
    char message[8] = {FIELD_SERVICE};

    if (len > 0) {
        size = 1;
        for (size_t rest = len; rest > 0 || size == 1; rest >>= 7)
            message[size++] = (char)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    }
    size_t whole = size + len;
    const char head[FRAME_HEAD] = {0, (char)(whole >> 24), (char)(whole >> 16), (char)(whole >> 8),
                                   (char)whole};
    (void)buf_add(out, head, sizeof(head));
    (void)buf_add(out, message, size);
    (void)buf_add(out, service, len);
}

void probe_grpc_start(struct probe_call *call, struct engine *engine)
{
    static const struct transfer_ops ops = {.on_data = on_body, .on_done = on_done};
    struct transfer *t = transfer_new(engine, &ops, call);
    struct buf body = BUF_INIT(SERVICE_MAX + 16);
    char url[OBSERVED_TEXT_MAX + 64], address[OBSERVED_TEXT_MAX];

    call->transfer = t;
    probe_address(call, address, sizeof(address));
    str_fmt(url, sizeof(url), "%s://%s/grpc.health.v1.Health/Check", call->tls ? "https" : "http",
            address);
    add_request(&body, call->service);
    transfer_url(t, url);
    (void)curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, 0L);
    (void)curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION,
                           call->tls ? (long)CURL_HTTP_VERSION_2TLS
                                     : (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
    (void)curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYPEER, 0L);
    (void)curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    (void)curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    (void)curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
    (void)curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)probe_left_ms(call));
    (void)curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)call->timeout_ms);
    (void)curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE, (long)body.len);
    (void)curl_easy_setopt(t->easy, CURLOPT_COPYPOSTFIELDS, buf_str(&body));
    transfer_header(t, "Content-Type", "application/grpc");
    transfer_header(t, "TE", "trailers");
    transfer_header(t, "User-Agent", "kube-probe/" PROBE_VERSION);
    transfer_header(t, "Accept", NULL);
    transfer_start(t);
    buf_free(&body);
}
