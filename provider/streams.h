/* kubectl attach, port-forward, exec and run on this node (contract 5.2, 5.4, 5.6): what a stream
 * of k8s/stream.h is joined to. streams.c routes, attach.c is the serial console, forward.c the
 * Pod's ports. Called by endpoints.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct agent;
struct attach;
struct pod;
struct port_forward;
struct server_request;

#define STREAMS_CONNS_MAX 1024 /* connections to Pods, of all port-forwards together */

struct streams {
    struct agent *agent;
    struct attach *attaches;
    struct port_forward *forwards;
    size_t conns;
};

struct streams *streams_new(struct agent *agent);
/* Those that run end first: with the server. */
void streams_free(struct streams *streams);

/* /attach, /exec and /run/{ns}/{pod}[/{uid}]/{container}; /portForward/{ns}/{pod}[/{uid}]. */
void streams_attach(struct streams *streams, struct server_request *request, char *const *segments,
                    size_t len);
void streams_exec(struct streams *streams, struct server_request *request, char *const *segments,
                  size_t len);
void streams_forward(struct streams *streams, struct server_request *request, char *const *segments,
                     size_t len);
/* An attempt of this Pod ended, or the Pod is being forgotten. */
void streams_container_ended(struct streams *streams, const char *uid);

/* Between the files. */
void attach_begin(struct streams *streams, struct server_request *request, struct pod *pod);
void attach_container_ended(struct streams *streams, const char *uid);
void forward_open(struct streams *streams, struct server_request *request, struct pod *pod);
void forward_container_ended(struct streams *streams, const char *uid);
