/* Choosing the carrier of a request: which upgrade it asks for, and which of its protocols we
 * speak. Answers what is none. Shared by stream_remote.c and stream_forward.c. */
#pragma once

#include "k8s/carrier.h"
#include "k8s/ws.h"

struct stream_protocol {
    const char *name; /* "": the client need not name one (WebSocket) */
    enum carrier_kind kind;
    int version; /* of remote command: 1 to 5 */
};

/* Each table ends with a name of NULL. */
struct stream_protocols {
    const struct stream_protocol *spdy;
    const struct stream_protocol *ws;
};

/* The client's first that we speak; accept is for a WebSocket. NULL: the request was answered. */
const struct stream_protocol *stream_choose(struct server_request *request,
                                            const struct stream_protocols *protocols,
                                            char accept[WS_ACCEPT_MAX]);
