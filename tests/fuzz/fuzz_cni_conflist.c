/* A file of the host's CNI configuration directory. What is taken must read back as itself (it is
 * kept for DEL), and what plugins get on their standard input must be JSON of one object. */
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/cni.h"
#include "runtime/network.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool fine)
{
    if (!fine)
        abort();
}

static void check_input(const struct cni_list *list, size_t i)
{
    static const struct network_port port = {
        .container_port = 80, .host_port = 8080, .host_ip = "::1", .protocol = "tcp"};
    const struct network_wants wants = {.ports = &port,
                                        .ports_len = 1,
                                        .ingress_bps = 1000,
                                        .ips = "10.0.0.1,fd00::1",
                                        .mac = "02:00:00:00:00:01"};
    const struct cni_told told = {.wants = &wants, .prev = "{\"ips\":[]}"};
    struct buf input = BUF_INIT(2 * CNI_CONF_MAX);
    struct json *root;

    require(cni_input(list, i, &told, &input) == 0);
    root = json_parse(buf_str(&input), input.len, NULL);
    require(json_is_object(root));
    require(str_eq(json_get_string(root, "name"), list->name));
    require(str_eq(json_get_string(root, "cniVersion"), list->version));
    require(str_eq(json_get_string(root, "type"), list->plugins[i].type));
    require(json_is_object(json_get(root, "prevResult")));
    require((json_get(root, "runtimeConfig") != NULL) == (list->plugins[i].capabilities != 0));
    json_free(root);
    buf_free(&input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cni_list *list;
    struct cni_list *again;
    struct err err;

    if (cni_list_parse((const char *)data, size, &list, &err) < 0)
        return 0;
    require(list->plugins_len > 0 && list->plugins_len <= CNI_PLUGINS_MAX);
    for (size_t i = 0; i < list->plugins_len; i++) {
        require(!strchr(list->plugins[i].type, '/'));
        check_input(list, i);
    }
    require(cni_list_parse(list->text, strlen(list->text), &again, &err) == 0);
    require(str_eq(again->text, list->text) && again->plugins_len == list->plugins_len);
    cni_list_free(again);
    cni_list_free(list);
    return 0;
}
