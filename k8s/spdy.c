/* See spdy.h. The rules are those of the SPDY/3 draft as far as Kubernetes uses them; what it does
 * not use (SETTINGS, WINDOW_UPDATE, unknown control frames) is stepped over. */
#include "k8s/spdy.h"

#include "base/buf.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define FLAG_FIN 1
#define CONTROL_BIT 0x80000000U
#define STREAM_MASK 0x7fffffffU
#define VERSION 3

enum frame_type {
    FRAME_SYN_STREAM = 1,
    FRAME_SYN_REPLY = 2,
    FRAME_RST_STREAM = 3,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_HEADERS = 8,
};

struct spdy {
    z_stream inflate;
    uint32_t last_stream;
    uint32_t data_stream; /* whose data frame is being read */
    uint32_t data_left;
    bool in_data;
    bool data_fin;
    uint32_t fin_stream; /* 0, or SPDY_FIN is to follow */
    bool replied;        /* our side of the compression has begun */
    size_t headers_len;
    struct {
        const char *name;
        const char *value;
    } headers[SPDY_HEADERS_MAX]; /* in block */
    char block[SPDY_BLOCK_MAX + 1];
};

static const char *const words[] = {
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
};

static const char tail[] =
    "10010120120220520630030230330430530630740240540640740840941041141241341441541641"
    "7502504505203 Non-Authoritative Information204 No Content301 Moved Permanently40"
    "0 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error"
    "501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept O"
    "ct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag"
    "e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/"
    "javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1"
    ",utf-,*,enq=0.";

static void put32(char *dst, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        dst[i] = (char)(unsigned char)(value >> (24 - 8 * i));
}

static uint32_t get32(const char *src)
{
    const unsigned char *p = (const unsigned char *)src;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void spdy_dictionary(char dst[SPDY_DICTIONARY_LEN])
{
    size_t at = 0;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t len = strlen(words[i]);
        put32(dst + at, (uint32_t)len);
        memcpy(dst + at + 4, words[i], len);
        at += 4 + len;
    }
    memcpy(dst + at, tail, sizeof(tail) - 1);
    assert(at + sizeof(tail) - 1 == SPDY_DICTIONARY_LEN);
}

struct spdy *spdy_new(void)
{
    struct spdy *spdy = xcalloc(1, sizeof(*spdy));
    if (inflateInit(&spdy->inflate) != Z_OK)
        abort(); /* out of memory */
    return spdy;
}

void spdy_free(struct spdy *spdy)
{
    if (!spdy)
        return;
    (void)inflateEnd(&spdy->inflate);
    free(spdy);
}

static int use_dictionary(struct spdy *spdy)
{
    char dictionary[SPDY_DICTIONARY_LEN];
    spdy_dictionary(dictionary);
    return inflateSetDictionary(&spdy->inflate, (const Bytef *)dictionary, sizeof(dictionary));
}

/* All blocks of a connection are one compressed stream: each must be inflated, wanted or not. */
static int inflate_block(struct spdy *spdy, const char *data, size_t len, size_t *ret_len)
{
    z_stream *z = &spdy->inflate;
    z->next_in = (Bytef *)(uintptr_t)data; /* zlib does not write to it */
    z->avail_in = (uInt)len;
    z->next_out = (Bytef *)spdy->block;
    z->avail_out = SPDY_BLOCK_MAX + 1; /* one more than allowed tells too much from just enough */
    int r = inflate(z, Z_SYNC_FLUSH);
    if (r == Z_NEED_DICT && use_dictionary(spdy) == Z_OK)
        r = inflate(z, Z_SYNC_FLUSH);
    if (z->avail_out == 0)
        return -E2BIG;
    if (r == Z_MEM_ERROR)
        abort();
    if ((r != Z_OK && r != Z_BUF_ERROR) || z->avail_in > 0)
        return -EBADMSG;
    *ret_len = SPDY_BLOCK_MAX + 1 - z->avail_out;
    return 0;
}

/* One length-prefixed text at *at; the terminator may overwrite the next length: it is read. */
static char *take_text(char *block, size_t len, size_t *at, char **ret_end)
{
    if (len - *at < 4)
        return NULL;
    size_t size = get32(block + *at);
    if (size > len - *at - 4)
        return NULL;
    char *text = block + *at + 4;
    *at += 4 + size;
    *ret_end = text + size;
    return text;
}

static bool is_name(const char *name, const char *end)
{
    for (const char *p = name; p < end; p++) {
        if ((unsigned char)*p <= 0x20 || *p == 0x7f || (*p >= 'A' && *p <= 'Z'))
            return false;
    }
    return name < end;
}

static int parse_block(struct spdy *spdy, size_t len)
{
    size_t at = 4;
    char *open_end = NULL; /* of a value whose terminator must wait for the length after it */
    if (len < 4)
        return -EBADMSG;
    uint32_t count = get32(spdy->block);
    if (count > SPDY_HEADERS_MAX)
        return -E2BIG;
    for (uint32_t i = 0; i < count; i++) {
        char *name_end = NULL;
        char *value_end = NULL;
        char *name = take_text(spdy->block, len, &at, &name_end);
        char *value = name ? take_text(spdy->block, len, &at, &value_end) : NULL;
        if (!value || !is_name(name, name_end))
            return -EBADMSG;
        if (open_end)
            *open_end = '\0';
        *name_end = '\0';
        open_end = value_end;
        if (spdy_header(spdy, name))
            return -EBADMSG;
        spdy->headers[i].name = name;
        spdy->headers[i].value = value;
        spdy->headers_len = i + 1;
    }
    if (open_end)
        *open_end = '\0'; /* block has room for one more */
    return at == len ? 0 : -EBADMSG;
}

const char *spdy_header(const struct spdy *spdy, const char *name)
{
    for (size_t i = 0; i < spdy->headers_len; i++) {
        if (str_eq(spdy->headers[i].name, name))
            return spdy->headers[i].value;
    }
    return NULL;
}

uint32_t spdy_last_stream(const struct spdy *spdy)
{
    return spdy->last_stream;
}

static int take_headers(struct spdy *spdy, const char *block, size_t len)
{
    size_t inflated = 0;
    spdy->headers_len = 0;
    int r = inflate_block(spdy, block, len, &inflated);
    return r < 0 ? r : parse_block(spdy, inflated);
}

static int take_syn_stream(struct spdy *spdy, const char *payload, size_t len, uint8_t flags,
                           struct spdy_event *ret)
{
    if (len < 10)
        return -EBADMSG;
    uint32_t stream = get32(payload) & STREAM_MASK;
    if (stream <= spdy->last_stream || stream % 2 == 0)
        return -EBADMSG; /* a client's are odd and count up */
    int r = take_headers(spdy, payload + 10, len - 10);
    if (r < 0)
        return r;
    spdy->last_stream = stream;
    if (flags & FLAG_FIN)
        spdy->fin_stream = stream;
    *ret = (struct spdy_event){.type = SPDY_OPEN, .stream = stream};
    return 1;
}

/* HEADERS, and SYN_REPLY which a client has no reason to send: only their compression counts. */
static int take_other_headers(struct spdy *spdy, const char *payload, size_t len, uint8_t flags,
                              struct spdy_event *ret)
{
    if (len < 4)
        return -EBADMSG;
    int r = take_headers(spdy, payload + 4, len - 4);
    if (r < 0 || !(flags & FLAG_FIN))
        return r;
    *ret = (struct spdy_event){.type = SPDY_FIN, .stream = get32(payload) & STREAM_MASK};
    return 1;
}

/* 1: an event. 0: nothing for the caller. */
static int take_control(struct spdy *spdy, const char *frame, size_t len, struct spdy_event *ret)
{
    uint32_t head = get32(frame);
    uint8_t flags = (uint8_t)frame[4];
    const char *payload = frame + SPDY_FRAME_HEAD;
    if ((head >> 16 & 0x7fff) != VERSION)
        return -EBADMSG;
    switch (head & 0xffff) {
    case FRAME_SYN_STREAM:
        return take_syn_stream(spdy, payload, len, flags, ret);
    case FRAME_SYN_REPLY:
    case FRAME_HEADERS:
        return take_other_headers(spdy, payload, len, flags, ret);
    case FRAME_RST_STREAM:
        if (len != 8)
            return -EBADMSG;
        *ret = (struct spdy_event){.type = SPDY_RESET,
                                   .stream = get32(payload) & STREAM_MASK,
                                   .value = get32(payload + 4)};
        return 1;
    case FRAME_PING:
        if (len != 4)
            return -EBADMSG;
        *ret = (struct spdy_event){.type = SPDY_PING, .value = get32(payload)};
        return ret->value % 2; /* even: an answer to a ping that we never sent */
    case FRAME_GOAWAY:
        *ret = (struct spdy_event){.type = SPDY_GOAWAY};
        return 1;
    default:
        return 0;
    }
}

/* What of a data frame is there; its end brings the FIN. 0: nothing yet. */
static int continue_data(struct spdy *spdy, const char *data, size_t len, struct spdy_event *ret)
{
    if (spdy->data_left == 0) {
        spdy->in_data = false;
        if (spdy->data_fin)
            spdy->fin_stream = spdy->data_stream;
        return 0;
    }
    if (len == 0)
        return 0;
    *ret = (struct spdy_event){
        .type = SPDY_DATA,
        .stream = spdy->data_stream,
        .data = data,
        .len = len < spdy->data_left ? len : spdy->data_left,
    };
    return 1;
}

void spdy_take(struct spdy *spdy, size_t len)
{
    assert(spdy->in_data && len <= spdy->data_left);
    spdy->data_left -= (uint32_t)len;
}

int spdy_next(struct spdy *spdy, const char *data, size_t len, size_t *ret_used,
              struct spdy_event *ret)
{
    size_t at = 0;
    *ret_used = 0;
    for (;;) {
        if (spdy->in_data) {
            int r = continue_data(spdy, data + at, len - at, ret);
            if (r || spdy->in_data)
                return r;
        }
        if (spdy->fin_stream) {
            *ret = (struct spdy_event){.type = SPDY_FIN, .stream = spdy->fin_stream};
            spdy->fin_stream = 0;
            return 1;
        }
        if (len - at < SPDY_FRAME_HEAD)
            return 0;
        uint32_t head = get32(data + at);
        uint32_t size = get32(data + at + 4) & 0xffffff;
        if (!(head & CONTROL_BIT)) {
            spdy->in_data = true;
            spdy->data_stream = head;
            spdy->data_left = size;
            spdy->data_fin = data[at + 4] & FLAG_FIN;
            *ret_used = at += SPDY_FRAME_HEAD;
            continue;
        }
        if (size > SPDY_CONTROL_MAX)
            return -E2BIG;
        if (len - at - SPDY_FRAME_HEAD < size)
            return 0;
        int r = take_control(spdy, data + at, size, ret);
        *ret_used = at += SPDY_FRAME_HEAD + size;
        if (r)
            return r;
    }
}

/* ---- sending ---- */

static void put_control(struct buf *out, enum frame_type type, size_t len)
{
    char head[SPDY_FRAME_HEAD];
    put32(head, CONTROL_BIT | VERSION << 16 | (uint32_t)type);
    put32(head + 4, (uint32_t)len);
    (void)buf_add(out, head, sizeof(head));
}

/* No headers: a block of four zero bytes, compressed without looking back, so that it is the same
 * in every frame; the first brings the stream's beginning with the dictionary's checksum. */
void spdy_put_reply(struct spdy *spdy, struct buf *out, uint32_t stream)
{
    static const char begin[] = {'\x78', '\xf9', '\xe3', '\xc6', '\xa7', '\xc2'};
    static const char block[] = {'\x62', '\x60', '\x60', '\x60', 0, 0, 0, 0, '\xff', '\xff'};
    size_t begin_len = spdy->replied ? 0 : sizeof(begin);
    char id[4];
    put32(id, stream);
    put_control(out, FRAME_SYN_REPLY, sizeof(id) + begin_len + sizeof(block));
    (void)buf_add(out, id, sizeof(id));
    (void)buf_add(out, begin, begin_len);
    (void)buf_add(out, block, sizeof(block));
    spdy->replied = true;
}

void spdy_put_data_head(struct buf *out, uint32_t stream, size_t len, bool fin)
{
    char head[SPDY_FRAME_HEAD];
    put32(head, stream);
    put32(head + 4, (uint32_t)len | (fin ? (uint32_t)FLAG_FIN << 24 : 0));
    (void)buf_add(out, head, sizeof(head));
}

static void put_words(struct buf *out, enum frame_type type, uint32_t first, uint32_t second)
{
    char payload[8];
    put32(payload, first);
    put32(payload + 4, second);
    put_control(out, type, sizeof(payload));
    (void)buf_add(out, payload, sizeof(payload));
}

void spdy_put_reset(struct buf *out, uint32_t stream, enum spdy_status status)
{
    put_words(out, FRAME_RST_STREAM, stream, (uint32_t)status);
}

void spdy_put_ping(struct buf *out, uint32_t id)
{
    char payload[4];
    put32(payload, id);
    put_control(out, FRAME_PING, sizeof(payload));
    (void)buf_add(out, payload, sizeof(payload));
}

void spdy_put_goaway(struct buf *out, uint32_t last_stream)
{
    put_words(out, FRAME_GOAWAY, last_stream, 0);
}
