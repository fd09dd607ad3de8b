/* YAML as a tree that remembers its lines: kubeconfig files and the agent's own configuration.
 * The only user of libyaml. One document a file; anchors, aliases and tags are refused. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;
struct yaml_doc;
struct yaml_node;

#define YAML_FILE_MAX (1024 * 1024)
#define YAML_DEPTH_MAX 32

int yaml_load(const char *path, struct yaml_doc **ret, struct err *err);
/* name appears in errors, as a path does: "name:12: ...". Duplicate keys are errors. */
int yaml_parse(const char *name, const char *text, size_t len, struct yaml_doc **ret,
               struct err *err);
/* NULL is accepted. (libyaml exports a yaml_free of its own, and would call ours.) */
void yaml_doc_free(struct yaml_doc *doc);

const struct yaml_node *yaml_root(const struct yaml_doc *doc); /* NULL: an empty document */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key); /* NULL: absent */
bool yaml_is_map(const struct yaml_node *node);
bool yaml_is_list(const struct yaml_node *node);
bool yaml_is_null(const struct yaml_node *node);       /* plain "", "~" or "null" */
bool yaml_is_plain(const struct yaml_node *node);      /* a scalar without quotes */
const char *yaml_scalar(const struct yaml_node *node); /* NULL when it is no scalar */
/* Children in order; the key is NULL in lists. */
const struct yaml_node *yaml_first(const struct yaml_node *node);
const struct yaml_node *yaml_next(const struct yaml_node *node);
const char *yaml_key(const struct yaml_node *node);
unsigned yaml_line(const struct yaml_node *node); /* 1-based; of the key, for a map's member */
