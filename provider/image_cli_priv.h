/* What the files of `unikubelet image` share. */
#pragma once

#include "provider/agent.h"
#include "runtime/image.h"

#define IMAGE_CLI_FAILED 1
#define IMAGE_CLI_USAGE 2

/* image_cli_inspect.c: what the image is, and what would be launched for a Pod of a file, or for
 * one that names the image and nothing else (pod_path NULL). Returns the exit status. */
int image_cli_inspect(struct agent *agent, struct image *image, const char *pod_path);
