/* Where a Pod wants to run, and what a Node wants: the half of codec_pod.c that reads nodeSelector,
 * required node affinity and tolerations, for admission on the node (contract 3.10). What only
 * the scheduler looks at is not kept. */
#include "k8s/codec_priv.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/str.h"

#define MEMORY_PRESSURE "node.kubernetes.io/memory-pressure"

static enum node_operator node_operator(const char *text)
{
    static const char *const names[] = {
        [NODE_IN] = "In",         [NODE_NOT_IN] = "NotIn",
        [NODE_EXISTS] = "Exists", [NODE_DOES_NOT_EXIST] = "DoesNotExist",
        [NODE_GT] = "Gt",         [NODE_LT] = "Lt",
    };

    for (int i = 0; i < NODE_OPERATOR_UNKNOWN; i++) {
        if (str_eq(text, names[i]))
            return (enum node_operator)i;
    }
    return NODE_OPERATOR_UNKNOWN;
}

static const struct node_match *read_matches(struct arena *arena, const struct json *array,
                                             size_t *ret_len)
{
    struct node_match *list;
    size_t n = 0;

    *ret_len = 0;
    if (!array)
        return NULL;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct node_match *match = &list[n++];

        match->key = codec_text(arena, v, "key");
        match->op = node_operator(json_get_string(v, "operator"));
        match->values = codec_texts(arena, v, "values", &match->values_len);
    }
    *ret_len = n;
    return list;
}

static void read_affinity(struct arena *arena, const struct json *required, struct pod_spec *pod)
{
    const struct json *array = codec_array(required, "nodeSelectorTerms");
    struct node_term *list;

    pod->node_affinity = json_is_object(required);
    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct node_term *term = &list[pod->node_terms_len++];

        term->labels = read_matches(arena, codec_array(v, "matchExpressions"), &term->labels_len);
        term->fields = read_matches(arena, codec_array(v, "matchFields"), &term->fields_len);
    }
    pod->node_terms = list;
}

/* Only NoExecute taints keep a Pod from a node that it is bound to; memory pressure is asked of the
 * eviction's own rule. */
static bool is_looked_at(const struct json *toleration)
{
    const char *effect = json_get_string(toleration, "effect");
    const char *key = json_get_string(toleration, "key");

    return str_empty(effect) || str_eq(effect, "NoExecute") || str_eq(key, MEMORY_PRESSURE);
}

static void read_tolerations(struct arena *arena, const struct json *array, struct pod_spec *pod)
{
    struct toleration *list;

    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct toleration *t = &list[pod->tolerations_len];

        if (!is_looked_at(v))
            continue;
        t->key = codec_text_opt(arena, v, "key");
        t->value = codec_text(arena, v, "value");
        t->effect = codec_text_opt(arena, v, "effect");
        t->exists = str_eq(json_get_string(v, "operator"), "Exists");
        pod->tolerations_len++;
    }
    pod->tolerations = list;
}

void codec_placement(struct arena *arena, const struct json *spec, struct pod_spec *pod)
{
    pod->node_selector =
        codec_pairs(arena, json_get(spec, "nodeSelector"), &pod->node_selector_len);
    read_affinity(
        arena,
        json_path(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"),
        pod);
    read_tolerations(arena, codec_array(spec, "tolerations"), pod);
}

const struct taint *codec_taints(struct arena *arena, const struct json *array, size_t *ret_len)
{
    struct taint *list;
    size_t n = 0;

    *ret_len = 0;
    if (!json_is_array(array) || json_len(array) == 0)
        return NULL;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        list[n].key = codec_text(arena, v, "key");
        list[n].value = codec_text(arena, v, "value");
        list[n++].effect = codec_text(arena, v, "effect");
    }
    *ret_len = n;
    return list;
}
