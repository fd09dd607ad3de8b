/* From a manifest to the Pod and to its mirror: names, annotations and tolerations as the kubelet
 * gives them to Pods from files. The text is walked once for each, and judged by static_check.c
 * before. */
#include "k8s/static_pod.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/static_check.h"
#include "k8s/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POD_JSON_MAX (2 * YAML_FILE_MAX)
#define NAMESPACE_DEFAULT "default"

void static_pod_hash(const struct static_pod *pod, char hash[STATIC_POD_HASH_LEN + 1])
{
    char hex[DIGEST_HEX_LEN + 1];
    struct digest *digest = digest_new();

    digest_add(digest, pod->node_name, strlen(pod->node_name) + 1);
    digest_add(digest, pod->path, strlen(pod->path) + 1);
    digest_add(digest, pod->text, pod->len);
    digest_hex(digest, hex);
    digest_free(digest);
    str_copy(hash, STATIC_POD_HASH_LEN + 1, hex);
}

/* JSON's own number syntax: anything else is text. */
static bool is_number(const char *text)
{
    size_t digits;

    text += *text == '-';
    digits = strspn(text, "0123456789");
    if (digits == 0 || (digits > 1 && *text == '0'))
        return false;
    text += digits;
    if (*text == '.') {
        digits = strspn(++text, "0123456789");
        text += digits;
        if (digits == 0)
            return false;
    }
    return *text == '\0';
}

static void write_scalar(struct json_writer *w, const char *key, const struct yaml_node *node)
{
    const char *text = yaml_scalar(node);

    if (yaml_is_null(node))
        jw_null(w, key);
    else if (yaml_is_plain(node) && (str_eq(text, "true") || str_eq(text, "false")))
        jw_bool(w, key, text[0] == 't');
    else if (yaml_is_plain(node) && is_number(text))
        jw_raw(w, key, text, strlen(text));
    else
        jw_string(w, key, text);
}

/* texts: every scalar is text, as in amounts ("cpu: 1"). */
static void write_value(struct json_writer *w, const char *key, const struct yaml_node *node,
                        bool texts)
{
    const struct yaml_node *v;

    if (yaml_is_map(node)) {
        jw_begin_object(w, key);
        for (v = yaml_first(node); v; v = yaml_next(v))
            write_value(w, yaml_key(v), v, texts || str_eq(yaml_key(v), "resources"));
        jw_end_object(w);
    } else if (yaml_is_list(node)) {
        jw_begin_array(w, key);
        for (v = yaml_first(node); v; v = yaml_next(v))
            write_value(w, NULL, v, texts);
        jw_end_array(w);
    } else if (texts && !yaml_is_null(node)) {
        jw_string(w, key, yaml_scalar(node));
    } else {
        write_scalar(w, key, node);
    }
}

static void write_annotations(struct json_writer *w, const struct static_pod *pod,
                              const struct yaml_node *given, const char *hash, bool mirror)
{
    char seen[CLOCK_RFC3339_MAX];

    jw_begin_object(w, "annotations");
    for (const struct yaml_node *v = yaml_first(given); v; v = yaml_next(v)) {
        if (!str_starts(yaml_key(v), "kubernetes.io/config."))
            jw_string(w, yaml_key(v), yaml_scalar(v));
    }
    jw_string(w, "kubernetes.io/config.hash", hash);
    jw_string(w, "kubernetes.io/config.seen", clock_rfc3339(seen, pod->seen_ms));
    jw_string(w, "kubernetes.io/config.source", "file");
    if (mirror)
        jw_string(w, "kubernetes.io/config.mirror", hash);
    jw_end_object(w);
}

static void write_owner(struct json_writer *w, const struct static_pod *pod, const char *node_uid)
{
    jw_begin_array(w, "ownerReferences");
    jw_begin_object(w, NULL);
    jw_string(w, "apiVersion", "v1");
    jw_string(w, "kind", "Node");
    jw_string(w, "name", pod->node_name);
    jw_string(w, "uid", node_uid);
    jw_bool(w, "controller", true);
    jw_end_object(w);
    jw_end_array(w);
}

static void write_metadata(struct json_writer *w, const struct static_pod *pod,
                           const struct yaml_node *given, const char *node_uid)
{
    char hash[STATIC_POD_HASH_LEN + 1];
    char *name = xasprintf("%s-%s", yaml_scalar(yaml_get(given, "name")), pod->node_name);
    const char *ns = yaml_scalar(yaml_get(given, "namespace"));
    const struct yaml_node *labels = yaml_get(given, "labels");

    static_pod_hash(pod, hash);
    jw_begin_object(w, "metadata");
    jw_string(w, "name", name);
    jw_string(w, "namespace", str_empty(ns) ? NAMESPACE_DEFAULT : ns);
    if (!node_uid)
        jw_string(w, "uid", hash);
    if (labels)
        write_value(w, "labels", labels, true);
    write_annotations(w, pod, yaml_get(given, "annotations"), hash, node_uid != NULL);
    if (node_uid)
        write_owner(w, pod, node_uid);
    jw_end_object(w);
    free(name);
}

/* The kubelet's: nothing evicts a static Pod by taint. */
static void write_tolerations(struct json_writer *w, const struct yaml_node *given)
{
    jw_begin_array(w, "tolerations");
    for (const struct yaml_node *v = yaml_first(given); v; v = yaml_next(v))
        write_value(w, NULL, v, false);
    jw_begin_object(w, NULL);
    jw_string(w, "operator", "Exists");
    jw_string(w, "effect", "NoExecute");
    jw_end_object(w);
    jw_end_array(w);
}

/* The API server's default, which depends on the image's tag. */
static const char *pull_policy(const char *image)
{
    const char *slash = strrchr(image, '/');
    const char *name = slash ? slash + 1 : image;
    const char *tag = strchr(name, ':');

    if (strchr(name, '@'))
        return "IfNotPresent";
    return !tag || str_eq(tag, ":latest") ? "Always" : "IfNotPresent";
}

static void write_containers(struct json_writer *w, const char *key, const struct yaml_node *list)
{
    jw_begin_array(w, key);
    for (const struct yaml_node *c = yaml_first(list); c; c = yaml_next(c)) {
        jw_begin_object(w, NULL);
        for (const struct yaml_node *v = yaml_first(c); v; v = yaml_next(v))
            write_value(w, yaml_key(v), v, str_eq(yaml_key(v), "resources"));
        if (!yaml_get(c, "imagePullPolicy"))
            jw_string(w, "imagePullPolicy", pull_policy(yaml_scalar(yaml_get(c, "image"))));
        jw_end_object(w);
    }
    jw_end_array(w);
}

/* node_uid NULL: the Pod itself, else its mirror. */
static void write_pod(const struct static_pod *pod, const struct yaml_node *root,
                      const char *node_uid, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);
    const struct yaml_node *spec = yaml_get(root, "spec");

    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "v1");
    jw_string(&w, "kind", "Pod");
    write_metadata(&w, pod, yaml_get(root, "metadata"), node_uid);
    jw_begin_object(&w, "spec");
    jw_string(&w, "nodeName", pod->node_name);
    for (const struct yaml_node *v = yaml_first(spec); v; v = yaml_next(v)) {
        if (str_eq(yaml_key(v), "containers") || str_eq(yaml_key(v), "initContainers"))
            write_containers(&w, yaml_key(v), v);
        else if (!str_eq(yaml_key(v), "nodeName") && !str_eq(yaml_key(v), "tolerations"))
            write_value(&w, yaml_key(v), v, str_eq(yaml_key(v), "overhead"));
    }
    write_tolerations(&w, yaml_get(spec, "tolerations"));
    jw_end_object(&w);
    jw_end_object(&w);
}

static int decode(const struct buf *text, const char *path, struct arena *arena,
                  const struct pod_spec **ret, struct err *err)
{
    struct json *json = json_parse(buf_str(text), text->len, err);
    const struct pod_spec *decoded = NULL;
    int result = json ? codec_pod(json, arena, &decoded, err) : -EBADMSG;

    json_free(json);
    if (result < 0)
        return err_spec(err, result, "%s: this is no Pod that can be run", path);
    struct pod_spec *spec = arena_alloc(arena, sizeof(*spec));
    *spec = *decoded;
    spec->features |= PF_STATIC;
    spec->generation = 1;
    *ret = spec;
    return 0;
}

int static_pod_read(const struct static_pod *pod, struct arena *arena, const struct pod_spec **ret,
                    struct err *err)
{
    struct yaml_doc *doc = NULL;
    struct buf text = BUF_INIT(POD_JSON_MAX);
    int result = yaml_parse(pod->path, pod->text, pod->len, &doc, err);

    if (result == 0)
        result = static_check(pod->path, yaml_root(doc), err);
    if (result == 0) {
        write_pod(pod, yaml_root(doc), NULL, &text);
        result = text.overflow ? err_spec(err, -EFBIG, "%s: the manifest is too large", pod->path)
                               : decode(&text, pod->path, arena, ret, err);
    }
    yaml_doc_free(doc);
    buf_free(&text);
    return result;
}

void static_pod_mirror(const struct static_pod *pod, const char *node_uid, struct buf *out)
{
    struct yaml_doc *doc = NULL;

    if (yaml_parse(pod->path, pod->text, pod->len, &doc, NULL) == 0)
        write_pod(pod, yaml_root(doc), node_uid, out);
    yaml_doc_free(doc);
}
