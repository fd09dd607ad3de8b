/* Finds the Pod and container that a stream is asked for, and refuses, before the connection
 * changes its protocol, what cannot be: then the sentence reaches kubectl's user. */
#include "provider/streams.h"

#include "base/str.h"
#include "k8s/server.h"
#include "provider/machines.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 1024

struct streams *streams_new(struct agent *agent)
{
    struct streams *streams = xcalloc(1, sizeof(*streams));
    streams->agent = agent;
    return streams;
}

void streams_free(struct streams *streams)
{
    free(streams);
}

static void refuse(struct server_request *request, int status, const char *text)
{
    server_reply(request, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* Of .../{ns}/{pod}[/{uid}]. NULL: answered. */
static struct pod *find_pod(struct streams *streams, struct server_request *request,
                            char *const *segments, const char *uid)
{
    char text[TEXT_MAX];
    struct pod *pod = reconcile_find(streams->agent->reconcile, segments[1], segments[2]);
    if (pod && (!uid || str_eq(pod->spec->uid, uid)))
        return pod;
    str_fmt(text, sizeof(text), "pod \"%s/%s\" not found", segments[1], segments[2]);
    refuse(request, 404, text);
    return NULL;
}

/* Of .../{ns}/{pod}[/{uid}]/{container}. */
static struct pod *find_container(struct streams *streams, struct server_request *request,
                                  char *const *segments, size_t len, size_t *ret)
{
    char text[TEXT_MAX];
    if (len != 4 && len != 5) {
        refuse(request, 404, "404 page not found\n");
        return NULL;
    }
    struct pod *pod = find_pod(streams, request, segments, len == 5 ? segments[3] : NULL);
    if (!pod)
        return NULL;
    if (pod_find_container(pod->spec, segments[len - 1], ret) && *ret < pod->obs.containers_len)
        return pod;
    str_fmt(text, sizeof(text), "container \"%s\" not found in pod \"%s\"", segments[len - 1],
            segments[2]);
    refuse(request, 404, text);
    return NULL;
}

/* The API server decides which protocol reaches a node: kubectl's wish is only a part of it. */
static void log_begin(const struct pod *pod, const struct server_request *request, const char *what)
{
    const struct log_ctx ctx = pod_log(pod);
    log_debug(&ctx, "stream", "%s over %s", what,
              str_eq(server_method(request), "GET") ? "WebSocket" : "SPDY");
}

void streams_attach(struct streams *streams, struct server_request *request, char *const *segments,
                    size_t len)
{
    char text[TEXT_MAX];
    size_t index;
    struct pod *pod = find_container(streams, request, segments, len, &index);
    if (!pod)
        return;
    if (pod->containers[index].machine == MACHINE_RUNNING) {
        log_begin(pod, request, "attach");
        attach_begin(streams, request, pod);
        return;
    }
    str_fmt(text, sizeof(text), "container \"%s\" in pod \"%s\" is not running", segments[len - 1],
            segments[2]);
    refuse(request, 400, text);
}

void streams_exec(struct streams *streams, struct server_request *request, char *const *segments,
                  size_t len)
{
    char text[TEXT_MAX];
    const char *kind = "unikernel";
    size_t index;
    struct pod *pod = find_container(streams, request, segments, len, &index);
    if (!pod)
        return;
    const struct machine *m = pod->machine;
    if (m && m->image && m->image_of == index && m->image->guest_kind)
        kind = m->image->guest_kind;
    str_fmt(text, sizeof(text),
            "cannot run a command in container \"%s\": its image \"%s\" is a unikernel (guest kind "
            "\"%s\"), a virtual machine in which no process can be started from outside; kubectl "
            "attach reaches its serial console, kubectl port-forward its ports, kubectl logs its "
            "output",
            segments[len - 1], pod_container(pod->spec, index)->image, kind);
    refuse(request, 501, text);
}

void streams_forward(struct streams *streams, struct server_request *request, char *const *segments,
                     size_t len)
{
    char text[TEXT_MAX];
    if (len != 3 && len != 4) {
        refuse(request, 404, "404 page not found\n");
        return;
    }
    struct pod *pod = find_pod(streams, request, segments, len == 4 ? segments[3] : NULL);
    if (!pod)
        return;
    if (pod->obs.pod_ip[0] && pod->containers[pod_active(pod)].machine == MACHINE_RUNNING) {
        log_begin(pod, request, "port-forward");
        forward_open(streams, request, pod);
        return;
    }
    str_fmt(text, sizeof(text), "pod \"%s\" is not running with a network: no port can be reached",
            segments[2]);
    refuse(request, 400, text);
}

void streams_container_ended(struct streams *streams, const char *uid)
{
    attach_container_ended(streams, uid);
    forward_container_ended(streams, uid);
}
