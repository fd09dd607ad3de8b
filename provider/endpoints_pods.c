/* /pods and /runningpods (contract 5.2): what this agent knows of its Pods, with the status that it
 * would report now. */
#include "base/json.h"
#include "base/str.h"
#include "k8s/codec_pods.h"
#include "provider/endpoints_priv.h"

struct listing {
    struct reconcile *reconcile;
    struct json_writer w;
};

static void add_pod(void *userdata, struct pod *pod)
{
    struct listing *list = userdata;
    struct pod_look look;
    const char *names[POD_MACHINES_MAX];

    if (str_empty(pod->spec->name))
        return; /* an orphan that only a directory tells of */
    for (size_t i = 0; i < pod->obs.containers_len; i++)
        names[i] = pod->image_names[i];
    reconcile_status(list->reconcile, pod, &look);
    codec_pods_add(&list->w, pod->spec, &look.status, names);
}

static void add_running(void *userdata, struct pod *pod)
{
    struct listing *list = userdata;

    size_t active = pod_active(pod);

    if (pod->containers[active].machine == MACHINE_RUNNING && !str_empty(pod->spec->name))
        codec_pods_add_running(&list->w, pod->spec, pod_container(pod->spec, active));
}

static void reply_list(struct endpoints *endpoints, struct server_request *request,
                       void (*add)(void *userdata, struct pod *pod))
{
    struct buf out = BUF_INIT(SERVER_REPLY_MAX);
    struct listing list = {.reconcile = endpoints->agent->reconcile, .w = JSON_WRITER(&out)};

    codec_pods_begin(&list.w);
    reconcile_each(list.reconcile, add, &list);
    codec_pods_end(&list.w);
    answer_buf(request, "application/json", &out);
}

void handle_pods(struct endpoints *endpoints, struct server_request *request, char *const *segments,
                 size_t len)
{
    (void)segments;
    if (len > 1)
        answer_not_found(request);
    else
        reply_list(endpoints, request, add_pod);
}

void handle_running_pods(struct endpoints *endpoints, struct server_request *request,
                         char *const *segments, size_t len)
{
    (void)segments;
    if (len > 1)
        answer_not_found(request);
    else
        reply_list(endpoints, request, add_running);
}
