/* See stream_begin.h. The rules are contract 5.4 and 5.5's; the texts reach kubectl's user. */
#include "k8s/stream_begin.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define PROTOCOL_TOKENS_MAX 32

static void refuse(struct server_request *request, int status, const char *text)
{
    server_reply(request, status, "text/plain; charset=utf-8", text, strlen(text));
}

static const struct stream_protocol *find(const struct stream_protocol *table, const char *name,
                                          size_t len)
{
    for (; table->name; table++) {
        if (strlen(table->name) == len && strncmp(table->name, name, len) == 0)
            return table;
    }
    return NULL;
}

/* Over all headers of that name and the commas in them, in the client's order. *ret_any: it named
 * one at all. */
static const struct stream_protocol *first_known(const struct server_request *request,
                                                 const char *header,
                                                 const struct stream_protocol *table, bool *ret_any)
{
    size_t tokens = 0;
    const char *value;
    *ret_any = false;
    for (size_t i = 0; (value = server_header(request, header, i)) != NULL; i++) {
        while (*value && tokens < PROTOCOL_TOKENS_MAX) {
            value += strspn(value, " \t,");
            size_t len = strcspn(value, " \t,");
            const struct stream_protocol *found = len ? find(table, value, len) : NULL;
            if (found)
                return found;
            *ret_any |= len > 0;
            tokens++;
            value += len;
        }
    }
    return NULL;
}

static const struct stream_protocol *choose_spdy(struct server_request *request,
                                                 const struct stream_protocol *table)
{
    bool any = false;
    const struct stream_protocol *found =
        first_known(request, "x-stream-protocol-version", table, &any);
    if (found)
        return found;
    if (!any) {
        refuse(request, 400, "unable to upgrade: X-Stream-Protocol-Version is required");
        return NULL;
    }
    for (; table->name; table++)
        server_add_header(request, "X-Accepted-Stream-Protocol-Versions", table->name);
    refuse(request, 403,
           "unable to upgrade: unable to negotiate protocol: client and server do "
           "not have one in common");
    return NULL;
}

static const struct stream_protocol *choose_ws(struct server_request *request,
                                               const struct stream_protocol *table,
                                               char accept[WS_ACCEPT_MAX])
{
    const char *version = server_header(request, "sec-websocket-version", 0);
    bool any = false;
    if (!str_eq(server_method(request), "GET")) {
        refuse(request, 400, "a WebSocket is asked for with GET");
        return NULL;
    }
    if (!str_eq(version, "13")) {
        server_add_header(request, "Sec-WebSocket-Version", "13");
        refuse(request, 400, "only version 13 of the WebSocket protocol is spoken here");
        return NULL;
    }
    if (server_header(request, "sec-websocket-key", 1) ||
        ws_accept(server_header(request, "sec-websocket-key", 0), accept) < 0) {
        refuse(request, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
        return NULL;
    }
    const struct stream_protocol *found =
        first_known(request, "sec-websocket-protocol", table, &any);
    if (!found && !any)
        found = find(table, "", 0);
    if (!found)
        refuse(request, 400, "none of the asked sub-protocols is spoken here");
    return found;
}

const struct stream_protocol *stream_choose(struct server_request *request,
                                            const struct stream_protocols *protocols,
                                            char accept[WS_ACCEPT_MAX])
{
    accept[0] = '\0';
    if (server_wants_upgrade(request, "spdy/3.1"))
        return choose_spdy(request, protocols->spdy);
    if (server_wants_upgrade(request, "websocket"))
        return choose_ws(request, protocols->ws, accept);
    refuse(request, 400, "unable to upgrade: missing upgrade headers in request");
    return NULL;
}
