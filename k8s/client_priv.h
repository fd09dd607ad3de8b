/* The inside of struct kube_client, shared by client.c (requests, retries), client_setup.c
 * (credentials, options), client_stream.c (watches) and fetch.c (images). Nobody else includes it.
 */
#pragma once

#include "base/buf.h"
#include "k8s/client.h"
#include "k8s/client_engine.h"
#include "k8s/client_stats.h"
#include "k8s/kubeconfig.h"

#include <sys/queue.h>
#include <uv.h>

#define REQUESTS_RUNNING_MAX 32 /* at once: more only costs memory and curl's walks over them */
#define IDLE_WAIT_MS 3000u      /* of a KUBE_IDLE request for an idle client; then one at a time */
#define REQUESTS_WAITING_MAX 16384 /* one more is answered with -ENOBUFS */
#define ANSWER_MAX (64u << 20)     /* bytes of one answer */
#define CONNECT_MS_MAX 5000L       /* TCP and TLS */
#define REQUEST_MS_MAX 20000L      /* one try: half a node lease */
#define TRIES_MAX 5                /* of one KUBE_RETRY request */
#define RETRY_MS_FIRST 200u        /* doubles, with up to as much again at random */
#define RETRY_MS_MAX 10000u
#define RETRY_AFTER_S_MAX 60u /* a server's wish is followed up to here */
#define TOKEN_FRESH_MS 60000u /* contract 0: re-read at least every minute */
#define TOKEN_MAX 65536u
#define UPLOAD_BUFFER                                                          \
    16384L /* of one request; the default is 64 KiB and touched anew each time \
            */
#define ACCEPT_JSON "application/json"
/* Of what we wrote ourselves only the version is news. */
#define ACCEPT_METADATA \
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

enum request_state {
    REQUEST_QUEUED, /* waits for one of REQUESTS_RUNNING_MAX places */
    REQUEST_RUNNING,
    REQUEST_WAITING,   /* until due_ms: for the next try, or to be answered */
    REQUEST_ANSWERING, /* its callback is running; on no list */
};

struct kube_request {
    TAILQ_ENTRY(kube_request) link;
    struct kube_client *client;
    enum request_state state;
    enum kube_method method;
    enum kube_retry retry;
    kube_done done;
    void *userdata;
    char *path;
    char *body;
    size_t body_len;
    unsigned tries;
    uint64_t due_ms; /* mono; of a queued KUBE_IDLE: not to be kept waiting from then on */
    int refused;     /* negative: answer with it at due_ms, do not try */
    bool reauth;     /* was tried again with a token read afresh */
    struct transfer *transfer;
    struct buf answer;
};

TAILQ_HEAD(request_list, kube_request);

struct kube_stream;
TAILQ_HEAD(stream_list, kube_stream);
struct fetch;
TAILQ_HEAD(fetch_list, fetch);

struct kube_client {
    struct uv_loop_s *loop;
    struct kube_config config;
    struct engine *engine;
    char *base_url;   /* without a trailing slash */
    char *connect_to; /* with tls-server-name; else NULL */
    char *token;
    uint64_t token_ms;                                  /* mono; when the file was read */
    uv_timer_t timer;                                   /* due requests, broken streams */
    struct request_list queued, idle, running, waiting; /* idle: queued ones that are KUBE_IDLE */
    size_t running_len, waiting_len;                    /* waiting_len: queued, idle and waiting */
    size_t idle_running_len;                            /* of the running ones */
    struct stream_list streams;
    struct fetch_list fetches;
    struct kube_stats stats;
    struct kube_answers answers;
    bool closing;
};

/* client_setup.c */
int client_setup(struct kube_client *client, const struct kube_config *config, struct err *err);
void client_setup_free(struct kube_client *client);
/* Server, credentials and time limit of one transfer. total_ms 0: none. */
void client_prepare(struct kube_client *client, struct transfer *t, const char *path,
                    const char *accept, long total_ms);
/* A token file is read again by the next transfer. True when there is one. */
bool client_token_expire(struct kube_client *client);
/* New connections from now on; old ones end with what runs on them. */
int client_new_engine(struct kube_client *client);
/* After a request got no answer in time: if nothing at all was heard since it began, the connection
 * is dead; leaves it. */
void client_suspect(struct kube_client *client, const struct transfer *t);

/* client_stream.c: a GET whose answer is handed on as it arrives. */
struct kube_stream_end {
    int result;             /* 0: a complete answer; negative errno: broken */
    int status;             /* HTTP; 0: none */
    uint32_t retry_after_s; /* 0: not said */
    const char *text;       /* a sentence on any failure; "" else */
    const char *body;       /* of a failure (status >= 300): a Status object, usually; never NULL */
    size_t len;
};
struct kube_stream_ops {
    /* A piece of an answer with status 200; negative: end it, on_end says -ECANCELED. */
    int (*on_data)(void *userdata, const char *data, size_t len);
    /* Once, last, unless stopped. The stream is freed. */
    void (*on_end)(void *userdata, const struct kube_stream_end *end);
};
/* Never calls back before it returned. */
struct kube_stream *kube_stream_start(struct kube_client *client, const char *path, long total_ms,
                                      const struct kube_stream_ops *ops, void *userdata);
void kube_stream_stop(struct kube_stream *stream); /* no callback afterwards; NULL is accepted */
/* Ends every stream soon, as if the server had closed it: result 0 is a wish, else a failure. */
void client_break_streams(struct kube_client *client, int result);
bool client_run_broken_streams(struct kube_client *client);
void client_free_streams(struct kube_client *client);

/* fetch.c */
void client_free_fetches(struct kube_client *client);

/* client.c */
void client_wake(struct kube_client *client, uint64_t delay_ms);
/* For back-offs: 0 to below, evenly. */
uint32_t client_random(uint32_t below);
