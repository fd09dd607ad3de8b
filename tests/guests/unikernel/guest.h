/* What the parts of the test guest share. */
#pragma once

#include "machine.h"

#define TOKENS_MAX 60 /* as Unikraft's LIBUKBOOT_MAXNBARGS */
#define LINE_MAX_ 4096
#define ENV_MAX 64

struct command {
    char raw[LINE_MAX_];  /* as it came */
    char text[LINE_MAX_]; /* split and unquoted */
    char *argv[TOKENS_MAX];
    unsigned argc;
    char *env[ENV_MAX];
    unsigned env_len;
    uint32_t mmio_base;
    unsigned mmio_irq;
    uint32_t ip, netmask, gateway; /* network byte order; ip 0: none */
    const char *netdev;            /* the value of netdev.ip, for show */
};

/* cmdline.c: Unikraft's grammar. Aborts the guest on what Unikraft would refuse. */
void command_parse(struct command *command, const char *line);

/* http.c */
void http_start(struct command *command, unsigned port, unsigned health);

/* traffic.c */
void traffic_start(const struct command *command);

/* files.c: the newc archive that the machine was given as its initrd, as Unikraft reads one: up to
 * the first trailer. */
void files_init(uintptr_t start, uintptr_t end);
/* The last file of that name; NULL: there is none. */
const char *files_find(const char *path, size_t path_len, size_t *ret_len);
