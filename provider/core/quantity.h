/* Kubernetes quantities (contract 0): "100m", "1.5Gi", "2e3". Rounding is always up. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* In units of one; -EINVAL, or -ERANGE past INT64_MAX. */
int quantity_value(const char *text, int64_t *ret);
/* In thousandths. */
int quantity_milli(const char *text, int64_t *ret);
/* Writes the canonical form of bytes ("16Gi", "1500Ki", "17") and of milli ("250m", "2"). */
#define QUANTITY_MAX 32
char *quantity_bytes(char dst[QUANTITY_MAX], int64_t bytes);
char *quantity_cpu(char dst[QUANTITY_MAX], int64_t milli);
