/* What the files of the kubelet's endpoints share: the route table is in endpoints.c, each handler
 * in the file of its subject. Nobody else includes this. */
#pragma once

#include "k8s/server.h"
#include "provider/agent.h"
#include "provider/metrics.h"
#include "runtime/stats.h"

struct buf;

struct log_stream;
struct file_stream;
struct streams;

struct endpoints {
    struct agent *agent;
    struct log_stream *streams;
    struct file_stream *files;
    struct streams *upgraded;
    struct metrics metrics;
    struct stats_rate host_rate;
};

/* segments: of the path, the first one is the route's; at least one. */
typedef void (*endpoint_handler)(struct endpoints *endpoints, struct server_request *request,
                                 char *const *segments, size_t len);

void answer_text(struct server_request *request, int status, const char *text);
void answer_not_found(struct server_request *request);
/* Sends and frees what out holds; a 500 when it passed its limit. */
void answer_buf(struct server_request *request, const char *content_type, struct buf *out);

/* "true" or "1". */
bool query_true(const struct server_request *request, const char *name);

/* endpoints_pods.c */
void handle_pods(struct endpoints *endpoints, struct server_request *request, char *const *segments,
                 size_t len);
void handle_running_pods(struct endpoints *endpoints, struct server_request *request,
                         char *const *segments, size_t len);
/* endpoints_stats.c */
void handle_stats(struct endpoints *endpoints, struct server_request *request,
                  char *const *segments, size_t len);
/* endpoints_metrics.c: /metrics and what is below it */
void handle_metrics(struct endpoints *endpoints, struct server_request *request,
                    char *const *segments, size_t len);
/* endpoints_own.c */
void write_own_metrics(struct endpoints *endpoints, struct buf *out);
/* endpoints_connections.c: /metrics/connections, and the same with ?format=json */
void write_connections(struct endpoints *endpoints, struct buf *out);
void answer_connections_json(struct endpoints *endpoints, struct server_request *request);
/* endpoints_info.c */
void handle_healthz(struct endpoints *endpoints, struct server_request *request,
                    char *const *segments, size_t len);
void handle_configz(struct endpoints *endpoints, struct server_request *request,
                    char *const *segments, size_t len);
void handle_checkpoint(struct endpoints *endpoints, struct server_request *request,
                       char *const *segments, size_t len);
/* endpoints_streams.c: what a connection is taken over for */
void handle_attach(struct endpoints *endpoints, struct server_request *request,
                   char *const *segments, size_t len);
void handle_exec(struct endpoints *endpoints, struct server_request *request, char *const *segments,
                 size_t len);
void handle_forward(struct endpoints *endpoints, struct server_request *request,
                    char *const *segments, size_t len);
/* endpoints_files.c */
void handle_files(struct endpoints *endpoints, struct server_request *request,
                  char *const *segments, size_t len);
void files_free(struct endpoints *endpoints);
