/* What qemu.c and qemu_probe.c share. Everyone else uses vmm_qemu of vmm.h. */
#pragma once

#include "vmm-bridge/vmm.h"

int qemu_probe(const struct vmm_config *config, enum vmm_accel *ret_accel, char **ret_version,
               struct err *err);
/* Whether /dev/kvm opens for that user, who is given its group, and speaks the stable API; err says
 * why not. */
bool qemu_kvm_usable(uint32_t uid, struct err *err);
/* "QEMU emulator version 7.2.22 (...)": malloc'd number, NULL when it is something else. */
char *qemu_parse_version(const char *text);
/* -1 when a version is older than major.minor, or makes no sense. */
int qemu_version_at_least(const char *version, unsigned major, unsigned minor);
/* Whether a line of a "help" list starts with the word. */
bool qemu_help_lists(const char *text, const char *word);
