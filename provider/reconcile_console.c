/* The ends of consoles that exits of a Pod's containers point to: rare and long, so not a part of
 * every Pod's memory. Part of reconcile. */
#include "provider/reconcile_priv.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

struct console {
    struct console *next;
    char text[];
};

const char *console_keep(struct pod *pod, const char *text)
{
    size_t len = strlen(text);
    if (len > CONSOLE_BYTES_MAX)
        len = CONSOLE_BYTES_MAX;
    struct console *console = xmalloc(sizeof(*console) + len + 1);
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '\r') /* a terminal's, as in the log */
            console->text[at++] = text[i];
    }
    console->text[at] = '\0';
    console->next = pod->consoles;
    pod->consoles = console;
    return console->text;
}

static bool is_used(const struct pod *pod, const struct console *console)
{
    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        const struct container_observed *c = &pod->containers[i];
        if (c->exit.console == console->text || c->last.console == console->text)
            return true;
    }
    return false;
}

void console_sweep(struct pod *pod)
{
    struct console **at = &pod->consoles;
    while (*at) {
        struct console *console = *at;
        if (is_used(pod, console)) {
            at = &console->next;
            continue;
        }
        *at = console->next;
        free(console);
    }
}

void console_free_all(struct pod *pod)
{
    while (pod->consoles) {
        struct console *next = pod->consoles->next;
        free(pod->consoles);
        pod->consoles = next;
    }
}
