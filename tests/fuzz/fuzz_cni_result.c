/* What a plugin prints: as a result, and as the error of one that failed. */
#include "base/err.h"
#include "base/str.h"
#include "runtime/cni.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool fine)
{
    if (!fine)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct cni_result result;
    struct err err = {.code = 0};

    if (cni_result_parse(text, size, CNI_IFNAME, &result, &err) == 0) {
        require(cni_output_check(text, size, &err) == 0);
        require(result.addrs_len > 0 && result.addrs_len <= CNI_ADDRS_MAX);
        for (size_t i = 0; i < result.addrs_len; i++) {
            const struct cni_addr *addr = &result.addrs[i];
            char *whole = xasprintf("%s/%u", addr->ip, addr->prefix_len);
            struct cni_addr back;

            require(cni_addr_parse(whole, &back) == 0 && back.v6 == addr->v6);
            require(i == 0 || addr->v6 || !result.addrs[0].v6); /* IPv4 first */
            free(whole);
        }
    } else {
        require(err.code < 0 && err.text[0]);
    }
    require(cni_error_parse("x", text, size, "words", 1 << 8, &err) < 0);
    require(str_starts(err.text, "CNI plugin x"));
    return 0;
}
