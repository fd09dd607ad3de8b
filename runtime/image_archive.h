/* Tars of OCI image layouts (skopeo's oci-archive, docker save), as a directory. */
#pragma once

struct err;

/* 0 with *ret NULL when path is a directory; else a new directory below parent with the layout's
 * files, malloc'd, for the caller to remove. */
int image_archive_open(const char *path, const char *parent, char **ret, struct err *err);
