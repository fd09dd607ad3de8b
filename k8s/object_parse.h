/* Parses an API object, or a watch's event with one, without its managedFields: they are up to half
 * of its text, nobody here reads them, and each of their braces would become an allocation. */
#pragma once

#include <stddef.h>

struct json;

/* NULL: no JSON. The result has an empty managedFields where there was one. */
struct json *object_parse(const char *text, size_t len);
