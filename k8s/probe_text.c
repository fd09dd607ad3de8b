/* What went wrong, in the words that people know from a kubelet: those of Go's net and net/http. */
#include "k8s/probe_priv.h"

#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

void probe_address(const struct probe_call *call, char *dst, size_t size)
{
    bool v6 = strchr(call->host, ':') != NULL;

    str_fmt(dst, size, "%s%s%s:%u", v6 ? "[" : "", call->host, v6 ? "]" : "", call->port);
}

static bool connected(const struct probe_call *call)
{
    curl_off_t us = 0;
    long port = 0;

    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_CONNECT_TIME_T, &us);
    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_LOCAL_PORT, &port);
    return us > 0 || port > 0; /* the time counts a TLS handshake in */
}

bool probe_unheard(const struct probe_call *call, CURLcode code)
{
    return code != CURLE_OK && !connected(call);
}

/* strerror as Go writes it. */
static void errno_text(int error, char *dst, size_t size)
{
    str_copy(dst, size, strerror(error));
    if (isupper((unsigned char)dst[0]) && islower((unsigned char)dst[1]))
        dst[0] = (char)tolower((unsigned char)dst[0]);
}

/* "read tcp 10.0.0.2:4711->10.0.0.1:80: read: connection reset by peer" */
static void read_text(const struct probe_call *call, char *dst, size_t size)
{
    char address[OBSERVED_TEXT_MAX], reason[64];
    const char *ip = NULL;
    long port = 0, error = 0;

    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_LOCAL_IP, &ip);
    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_LOCAL_PORT, &port);
    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_OS_ERRNO, &error);
    probe_address(call, address, sizeof(address));
    errno_text(error > 0 ? (int)error : ECONNRESET, reason, sizeof(reason));
    bool v6 = ip && strchr(ip, ':');
    str_fmt(dst, size, "read tcp %s%s%s:%ld->%s: read: %s", v6 ? "[" : "", ip ? ip : "",
            v6 ? "]" : "", port, address, reason);
}

static void dial_text(const struct probe_call *call, CURLcode code, char *dst, size_t size)
{
    char address[OBSERVED_TEXT_MAX], reason[64];
    long error = 0;

    probe_address(call, address, sizeof(address));
    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_OS_ERRNO, &error);
    errno_text(error > 0 ? (int)error : ECONNREFUSED, reason, sizeof(reason));
    if (code == CURLE_OPERATION_TIMEDOUT)
        str_fmt(dst, size, "dial tcp %s: i/o timeout", address);
    else if (code == CURLE_COULDNT_RESOLVE_HOST)
        str_fmt(dst, size, "dial tcp: lookup %s: no such host", call->host);
    else
        str_fmt(dst, size, "dial tcp %s: connect: %s", address, reason);
}

void probe_wire_text(const struct probe_call *call, CURLcode code, char *dst, size_t size)
{
    const char *text = transfer_text(call->transfer, code);

    if (!connected(call)) {
        dial_text(call, code, dst, size);
        return;
    }
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        str_copy(dst, size, "context deadline exceeded");
        break;
    case CURLE_GOT_NOTHING:
        str_copy(dst, size, "EOF");
        break;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        read_text(call, dst, size);
        break;
    case CURLE_PARTIAL_FILE:
        str_copy(dst, size, "unexpected EOF");
        break;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        str_copy(dst, size,
                 "net/http: HTTP/1.x transport connection broken: malformed HTTP "
                 "response");
        break;
    default:
        str_copy(dst, size, text);
        break;
    }
}

void probe_duration(uint32_t ms, char *dst, size_t size)
{
    uint32_t minutes = ms / 60000, rest_ms = ms % 60000;
    char seconds[16];

    if (rest_ms % 1000 == 0)
        str_fmt(seconds, sizeof(seconds), "%us", rest_ms / 1000);
    else
        str_fmt(seconds, sizeof(seconds), "%gs", (double)rest_ms / 1000);
    if (ms < 1000)
        str_fmt(dst, size, "%ums", ms);
    else if (minutes >= 60)
        str_fmt(dst, size, "%uh%um%s", minutes / 60, minutes % 60, seconds);
    else if (minutes > 0)
        str_fmt(dst, size, "%um%s", minutes, seconds);
    else
        str_copy(dst, size, seconds);
}
