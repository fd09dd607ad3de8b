/* Judges a Pod's manifest: which fields there are, what each must be. Part of static_pod.c. */
#pragma once

struct err;
struct yaml_node;

/* root NULL: an empty file. -EINVAL with "path:line: field: what is wrong". */
int static_check(const char *path, const struct yaml_node *root, struct err *err);
