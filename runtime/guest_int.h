/* What the guest kinds share, and nobody else includes: the table's rows, features of an image's
 * KConfig, and reading the end of a console. */
#pragma once

#include "runtime/guest.h"

extern const struct guest_ops guest_unikraft;
extern const struct guest_ops guest_linux;
extern const struct guest_ops guest_solo5;
extern const struct guest_ops guest_hermit;
extern const struct guest_ops guest_osv;
extern const struct guest_ops guest_nanos;
extern const struct guest_ops guest_raw;

/* A crashed kernel's exit code: 128 + SIGABRT, what a process that gives up on itself has. 1 would
 * look like a program's own answer, and Jobs tell the two apart (podFailurePolicy). */
#define GUEST_EXIT_CRASH 134
/* The machine could not be started at all: the code that container runtimes give a StartError. */
#define GUEST_EXIT_START 128

/* The value of CONFIG_<name> in the image's features ("y", "64"), or NULL. */
const char *guest_feature(const struct guest_input *input, const char *name);
/* Whether the features are a whole KConfig, so that an absent name means "not built in". A few
 * hand-written entries prove nothing about the rest. */
bool guest_features_complete(const struct guest_input *input);
/* The numeric value of CONFIG_<name>, or otherwise. */
uint64_t guest_feature_number(const struct guest_input *input, const char *name,
                              uint64_t otherwise);

/* Dotted IPv4 address? */
bool guest_is_ipv4(const char *text);
/* The netmask of a prefix, e.g. 255.255.240.0. dst holds 16. */
void guest_netmask(uint32_t prefix_len, char dst[16]);
/* For kinds whose command line carries no environment: variables of the Pod's own are refused, the
 * image's are left out. why: what to do instead. */
int guest_refuse_env(const struct guest_input *input, const char *why, struct err *err);
/* Appends a word, with a space before it when it is not the first. */
void guest_add_word(struct buf *out, const char *text);
/* An IPv4 address and gateway, or the sentence that says which is not. kind: "a Hermit". */
int guest_check_ipv4(const struct guest_net *net, const char *kind, struct err *err);
/* First byte that no command line can carry (control characters but the tab), or NULL. */
const char *guest_control_char(const char *text);

/* The text after the last occurrence of key in tail, or NULL. */
const char *guest_tail_after(const char *tail, const char *key);
/* The console's last lines as one printable line, cut at the front. */
void guest_tail_message(const char *tail, char *dst, size_t size);
/* Signals and failures of the VMM itself, alike for all kinds. False: it was neither. */
bool guest_decode_vmm(const struct vmm_exit *end, struct guest_exit *ret);
void guest_decode_crash(const char *what, const char *tail, struct guest_exit *ret);
