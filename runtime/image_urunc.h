/* urunc's description of an image: com.urunc.unikernel.* as labels or annotations, or the same keys
 * with base64 values in /urunc.json of the root file system (urunc's docs/package and
 * pkg/unikontainers/config.go). Pure: called by the readers of manifests, configs and layers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct err;
struct json;

#define URUNC_JSON_PATH "/urunc.json"
#define URUNC_JSON_BYTES_MAX (64 * 1024)
#define URUNC_VALUE_MAX 4096 /* bytes of one value, as urunc has it */

/* Strings live in the arena, NULL when not said. */
struct urunc {
    const char *type; /* unikernelType: unikraft, linux, mirage, ...; never NULL when present */
    const char *hypervisor;
    const char *version; /* unikernelVersion */
    const char *binary;  /* path of the kernel; never NULL when present */
    const char *initrd;
    const char *block; /* path of a disk image */
    const char *cmdline;
    bool mount_root; /* the container's root file system is the guest's */
    bool present;
};

/* From a map of texts (labels or annotations). Nothing of urunc in it: 0 and !present.
 * -EBADMSG: a key is missing or a value is not what urunc allows. */
int urunc_from_map(const struct json *map, struct arena *arena, struct urunc *ret, struct err *err);
/* From the text of /urunc.json. */
int urunc_read(const char *text, size_t len, struct arena *arena, struct urunc *ret,
               struct err *err);
/* Our kind of guest for a unikernelType; NULL: none. */
const char *urunc_guest_kind(const char *type);
