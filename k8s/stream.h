/* What kubectl attach, exec and port-forward are to the rest of the agent, whatever protocol
 * carries them (contract 5.4 to 5.6): a remote command's five streams, and pairs of a forwarded
 * port. All bounded; a side that does not read stops the other. Used by provider. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct forward;
struct forward_pair;
struct remote;
struct server_request;
struct uv_loop_s;

#define STREAM_TEXT_MAX 1024 /* of an error shown to the user */

/* ---- remote command ---- */

struct remote_options {
    bool input;
    bool output;
    bool error; /* never with tty */
    bool tty;
};

/* Callbacks come from the loop and from remote_resume. on_closed is the last; the remote is gone
 * then, whoever ended it. */
struct remote_ops {
    void (*on_ready)(void *userdata); /* all streams are there: write */
    /* Bytes taken; fewer: remote_resume when there is room. */
    size_t (*on_input)(void *userdata, const char *data, size_t len);
    void (*on_input_end)(void *userdata);
    void (*on_resize)(void *userdata, uint16_t columns, uint16_t rows); /* may be NULL */
    void (*on_writable)(void *userdata);
    void (*on_closed)(void *userdata);
};

/* 0, or the sentence of a 400: what the query asks for. */
const char *remote_parse(const struct server_request *request, struct remote_options *ret);
/* Takes the connection over. NULL: it is no upgrade that we know; the request was answered. */
struct remote *remote_begin(struct server_request *request, struct uv_loop_s *loop,
                            const struct remote_options *options, const struct remote_ops *ops,
                            void *userdata);
/* Bytes accepted; fewer: wait for on_writable. To standard error without such a stream: to none. */
size_t remote_write(struct remote *remote, bool error, const char *data, size_t len);
void remote_resume(struct remote *remote);
/* Says how it went and ends the connection: failure NULL is success. on_closed follows. */
void remote_end(struct remote *remote, const char *failure);

/* ---- port-forward ---- */

/* As above; a pair's on_closed is its last, and comes before the connection's. */
struct forward_ops {
    /* A connection to this port is wanted. Returns the pair's own userdata; NULL: too many, the
     * pair is refused. Answer with forward_write, forward_fail or forward_end, later. */
    void *(*on_pair)(void *userdata, struct forward_pair *pair, uint16_t port);
    size_t (*on_data)(void *pair_userdata, const char *data, size_t len);
    void (*on_data_end)(void *pair_userdata);
    void (*on_writable)(void *pair_userdata);
    void (*on_pair_closed)(void *pair_userdata); /* the client gave it up */
    void (*on_closed)(void *userdata);
};

struct forward *forward_begin(struct server_request *request, struct uv_loop_s *loop,
                              const struct forward_ops *ops, void *userdata);
size_t forward_write(struct forward_pair *pair, const char *data, size_t len);
/* The other end sends no more. */
void forward_write_end(struct forward_pair *pair);
/* There is room again. */
void forward_resume(struct forward_pair *pair);
/* The pair is over and forgotten: no on_pair_closed. failure NULL is success. */
void forward_end(struct forward_pair *pair, const char *failure);
