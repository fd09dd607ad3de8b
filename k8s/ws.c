/* See ws.h. Refuses what RFC 6455 lets a server refuse: unmasked frames, reserved bits, lengths
 * that are not in their shortest form, fragments out of order, close codes that nobody may send. */
#include "k8s/ws.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <openssl/evp.h>

#define KEY_BYTES 16

struct head {
    bool fin;
    uint8_t opcode;
    uint64_t len;
    size_t size; /* of the head */
};

/* 0: not complete yet. */
static int parse_head(const uint8_t *data, size_t len, struct head *ret)
{
    if (len < 2)
        return 0;
    if ((data[0] & 0x70) || !(data[1] & 0x80))
        return -EPROTO;
    size_t wide = (data[1] & 0x7f) == 127 ? 8 : (data[1] & 0x7f) == 126 ? 2 : 0;
    if (len < 2 + wide + 4)
        return 0;
    uint64_t size = wide ? 0 : data[1] & 0x7f;
    for (size_t i = 0; i < wide; i++)
        size = size << 8 | data[2 + i];
    if ((wide == 2 && size < 126) || (wide == 8 && (size < 65536 || size >> 63)))
        return -EPROTO;
    *ret = (struct head){
        .fin = data[0] & 0x80,
        .opcode = data[0] & 0x0f,
        .len = size,
        .size = 2 + wide + 4,
    };
    return 1;
}

static void unmask(struct ws *ws, char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(data[i] ^ ws->key[ws->key_at++ & 3]);
}

static bool close_ok(const char *data, size_t len)
{
    if (len == 0)
        return true;
    if (len == 1)
        return false;
    unsigned code = (unsigned)(unsigned char)data[0] << 8 | (unsigned char)data[1];
    bool known = (code >= 1000 && code <= 1011 && code != 1004 && code != 1005 && code != 1006) ||
                 (code >= 3000 && code <= 4999);
    for (size_t at = 2; known && at < len;) {
        size_t n = str_utf8_len(data + at, len - at);
        if (n == 0)
            return false;
        at += n;
    }
    return known;
}

/* 1: an event, 0: a pong that nobody waits for. */
static int take_control(struct ws *ws, const struct head *head, char *payload, struct ws_event *ret)
{
    ws->key_at = 0;
    unmask(ws, payload, (size_t)head->len);
    *ret = (struct ws_event){.data = payload, .len = (size_t)head->len};
    switch (head->opcode) {
    case WS_OP_CLOSE:
        ret->type = WS_CLOSE;
        return close_ok(payload, ret->len) ? 1 : -EPROTO;
    case WS_OP_PING:
        ret->type = WS_PING;
        return 1;
    default:
        return 0;
    }
}

static int begin_frame(struct ws *ws, const struct head *head)
{
    if (head->opcode > WS_OP_BINARY || (head->opcode == WS_OP_CONTINUATION) != ws->in_message)
        return -EPROTO;
    if (head->opcode != WS_OP_CONTINUATION)
        ws->text = head->opcode == WS_OP_TEXT;
    ws->in_frame = ws->in_message = true;
    ws->fin = head->fin;
    ws->left = head->len;
    ws->unmasked = 0;
    ws->key_at = 0;
    return 0;
}

/* 1: an event. 0: the frame ended or nothing of it is there. */
static int continue_frame(struct ws *ws, char *data, size_t len, struct ws_event *ret)
{
    if (ws->left == 0) {
        ws->in_frame = false;
        if (!ws->fin)
            return 0;
        ws->in_message = false;
        *ret = (struct ws_event){.type = WS_END, .text = ws->text};
        return 1;
    }
    if (len == 0)
        return 0;
    size_t n = len < ws->left ? len : (size_t)ws->left;
    if (n > ws->unmasked) {
        unmask(ws, data + ws->unmasked, n - (size_t)ws->unmasked);
        ws->unmasked = n;
    }
    *ret = (struct ws_event){.type = WS_DATA, .text = ws->text, .data = data, .len = n};
    return 1;
}

void ws_take(struct ws *ws, size_t len)
{
    assert(ws->in_frame && len <= ws->unmasked);
    ws->left -= len;
    ws->unmasked -= len;
}

int ws_next(struct ws *ws, char *data, size_t len, size_t *ret_used, struct ws_event *ret)
{
    size_t at = 0;
    *ret_used = 0;
    for (;;) {
        struct head head;
        if (ws->in_frame) {
            int r = continue_frame(ws, data + at, len - at, ret);
            if (r || ws->in_frame)
                return r;
        }
        int r = parse_head((const uint8_t *)data + at, len - at, &head);
        if (r <= 0)
            return r;
        if (head.opcode >= WS_OP_CLOSE) {
            if (!head.fin || head.len > WS_CONTROL_MAX || head.opcode > WS_OP_PONG)
                return -EPROTO;
            if (len - at < head.size + head.len)
                return 0;
            memcpy(ws->key, data + at + head.size - 4, 4);
            char *payload = data + at + head.size;
            *ret_used = at += head.size + (size_t)head.len;
            r = take_control(ws, &head, payload, ret);
        } else {
            memcpy(ws->key, data + at + head.size - 4, 4);
            *ret_used = at += head.size;
            r = begin_frame(ws, &head);
        }
        if (r)
            return r;
    }
}

void ws_put_head(struct buf *out, enum ws_opcode opcode, size_t len)
{
    char head[WS_HEAD_MAX] = {(char)(0x80 | (unsigned)opcode)};
    size_t wide = len > 65535 ? 8 : len > WS_CONTROL_MAX ? 2 : 0;
    head[1] = (char)(wide == 8 ? 127 : wide == 2 ? 126 : (int)len);
    for (size_t i = 0; i < wide; i++)
        head[2 + i] = (char)(unsigned char)(len >> (8 * (wide - 1 - i)));
    (void)buf_add(out, head, 2 + wide);
}

void ws_put_close(struct buf *out, enum ws_code code, const char *reason)
{
    size_t len = strnlen(reason, WS_CONTROL_MAX - 2);
    const char head[2] = {(char)(code >> 8), (char)(code & 0xff)};
    ws_put_head(out, WS_OP_CLOSE, sizeof(head) + len);
    (void)buf_add(out, head, sizeof(head));
    (void)buf_add(out, reason, len);
}

int ws_accept(const char *key, char dst[WS_ACCEPT_MAX])
{
    CLEANUP(free) char *nonce = NULL;
    CLEANUP(free) char *text = NULL;
    CLEANUP(free) char *accept = NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    size_t nonce_len = 0;
    if (!key || str_unbase64(key, strlen(key), &nonce, &nonce_len) < 0 || nonce_len != KEY_BYTES)
        return -EINVAL;
    text = xasprintf("%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    if (EVP_Digest(text, strlen(text), digest, &digest_len, EVP_sha1(), NULL) != 1)
        return -EIO;
    accept = str_base64(digest, digest_len);
    str_copy(dst, WS_ACCEPT_MAX, accept);
    return 0;
}
