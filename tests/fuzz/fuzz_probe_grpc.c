/* What a gRPC server sends as the answer to a health check: read within its bytes, the same twice,
 * and nothing is made of a cut one. */
#include "k8s/probe_priv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1); /* exact: a byte too far is seen */
    uint64_t status, again;

    if (!copy)
        abort();
    for (size_t i = 0; i < size; i++)
        copy[i] = (char)data[i];
    char *exact = realloc(copy, size ? size : 1);
    if (!exact)
        abort();
    bool good = probe_grpc_read(exact, size, &status);
    if (good != probe_grpc_read(exact, size, &again) || status != again)
        abort();
    if (good && probe_grpc_read(exact, size - 1, &again))
        abort();
    free(exact);
    return 0;
}
