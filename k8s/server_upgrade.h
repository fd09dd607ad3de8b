/* How a handler takes a connection over for another protocol (SPDY, WebSocket): the 101, then raw
 * bytes both ways through the connection's own bounded buffers. What was asked and allowed is as
 * for any request. Used by carrier.c. */
#pragma once

#include "k8s/server.h"

struct buf;

struct server_upgrade_ops {
    struct server_stream_ops stream;  /* as for a stream */
    void (*on_input)(void *userdata); /* more is in server_input; may be called for nothing */
};

/* Whether the client asks for this protocol ("websocket", "SPDY/3.1"; in any case). */
bool server_wants_upgrade(const struct server_request *request, const char *protocol);
/* The index-th header of this lower-case name; NULL: there are no more. */
const char *server_header(const struct server_request *request, const char *name, size_t index);

/* The 101 with the headers that were added. Never calls back before it returned. */
void server_upgrade(struct server_request *request, const char *protocol,
                    const struct server_upgrade_ops *ops, void *userdata);
/* What came and was not consumed. While it stays, the peer is read only as far as there is room. */
char *server_input(struct server_request *request, size_t *ret_len);
void server_consume(struct server_request *request, size_t len);
/* Where frames are appended. Keep within server_room for data; what the protocol demands (replies,
 * ends) may pass it as long as no more input is taken while there is no room. Then server_sent. */
struct buf *server_output(struct server_request *request);
size_t server_room(const struct server_request *request);
void server_sent(struct server_request *request);
/* on_input is called in the loop's next turn, even if nothing came. */
void server_nudge(struct server_request *request);
/* What was appended leaves, then the connection ends; on_closed follows. */
void server_hang_up(struct server_request *request);
