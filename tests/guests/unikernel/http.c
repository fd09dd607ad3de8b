/* A small HTTP/1.1 server on lwIP's raw API: "/" tells command line, arguments and environment;
 * "/files/PATH" is one of the initrd; "/exit?code=N", "/crash", "/hang", "/mem?mb=N" and
 * "/print?text=T" do what they say; "/healthz" answers with the status that "/health?code=N" set.
 * One answer a connection. */
#include "guest.h"

#include "lwip/mem.h"
#include "lwip/memp.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX 8192
#define HEAD_MAX 128

enum after { AFTER_NOTHING, AFTER_EXIT, AFTER_CRASH, AFTER_HANG };

struct answer {
    char text[ANSWER_MAX];
    size_t len;
};

static struct command *command;
static struct answer answer;
static uint32_t requests;
static unsigned health; /* HTTP status of "/healthz" */

static void add(const char *text)
{
    size_t len = strlen(text);
    if (answer.len + len > ANSWER_MAX)
        len = ANSWER_MAX - answer.len;
    memcpy(answer.text + answer.len, text, len);
    answer.len += len;
}

static void add_number(uint32_t value)
{
    char digits[12];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    add(digits + at);
}

static void describe(void)
{
    add("hello from ");
    add(command->argc ? command->argv[0] : "?");
    add("\nrequest: ");
    add_number(++requests);
    add("\nuptime_ms: ");
    add_number(machine_ms());
    add("\ncmdline: ");
    add(command->raw);
    for (unsigned i = 1; i < command->argc; i++) {
        add("\narg: ");
        add(command->argv[i]);
    }
    for (unsigned i = 0; i < command->env_len; i++) {
        add("\nenv: ");
        add(command->env[i]);
    }
    add("\n");
}

static bool starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static uint32_t take_memory(uint32_t mib)
{
    uint32_t got = 0;
    for (; got < mib; got++) {
        char *piece = heap_take(1024 * 1024);
        if (!piece)
            break;
        memset(piece, 0x5a, 1024 * 1024);
    }
    return got;
}

static void print_text(const char *text)
{
    size_t len = 0;
    while (text[len] > ' ')
        len++;
    console_put(text, len);
    console_put("\n", 1);
}

static void add_file(const char *path)
{
    size_t len = 0, path_len = 0;
    while (path[path_len] > ' ')
        path_len++;
    const char *data = files_find(path, path_len, &len);
    if (!data) {
        add("no such file\n");
        return;
    }
    if (len > ANSWER_MAX)
        len = ANSWER_MAX;
    memcpy(answer.text, data, len);
    answer.len = len;
}

/* Fills answer; the code of an exit goes to *code. */
static enum after respond(const char *path, int *code, unsigned *status)
{
    answer.len = 0;
    *status = 200;
    if (starts(path, "/healthz")) {
        *status = health;
        add("health\n");
        return AFTER_NOTHING;
    }
    if (starts(path, "/health?code=")) {
        health = (unsigned)atoi(path + strlen("/health?code="));
        add("set\n");
        return AFTER_NOTHING;
    }
    if (starts(path, "/exit")) {
        *code = starts(path, "/exit?code=") ? atoi(path + strlen("/exit?code=")) : 0;
        add("exiting\n");
        return AFTER_EXIT;
    }
    if (starts(path, "/crash")) {
        add("crashing\n");
        return AFTER_CRASH;
    }
    if (starts(path, "/hang")) {
        add("hanging\n");
        return AFTER_HANG;
    }
    if (starts(path, "/files/")) {
        add_file(path + strlen("/files/"));
    } else if (starts(path, "/mem?mb=")) {
        add_number(take_memory((uint32_t)atoi(path + strlen("/mem?mb="))));
        add(" MiB taken\n");
    } else if (starts(path, "/print?text=")) {
        print_text(path + strlen("/print?text="));
        add("printed\n");
    } else {
        describe();
    }
    return AFTER_NOTHING;
}

static void act(enum after after, int code)
{
    switch (after) {
    case AFTER_EXIT:
        machine_exit(code);
    case AFTER_CRASH:
        machine_crash("asked to");
    case AFTER_HANG:
        for (;;)
            __asm__ volatile("cli; hlt");
    case AFTER_NOTHING:
        break;
    }
}

/* Returns its length. */
static size_t make_head(char *head, unsigned status, size_t len)
{
    static const char begin[] = "HTTP/1.1 000 X\r\nContent-Type: text/plain\r\n"
                                "Connection: close\r\nContent-Length: ";
    char digits[12];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + len % 10);
        len /= 10;
    } while (len);
    memcpy(head, begin, sizeof(begin) - 1);
    head[9] = (char)('0' + status / 100 % 10);
    head[10] = (char)('0' + status / 10 % 10);
    head[11] = (char)('0' + status % 10);
    size_t used = sizeof(begin) - 1;
    memcpy(head + used, digits + at, sizeof(digits) - at);
    used += sizeof(digits) - at;
    memcpy(head + used, "\r\n\r\n", 4);
    return used + 4;
}

/* Whether lwIP could take the longest answer now: hundreds of clients at once use its memory up
 * until they acknowledge, and an answer that it does not take would be lost. */
static bool room_for_answer(void)
{
    enum { SEGMENTS = (HEAD_MAX + ANSWER_MAX) / TCP_MSS + 3 }; /* the last: FIN */
    void *segments[SEGMENTS];
    size_t got = 0;
    void *room = mem_malloc((mem_size_t)(SEGMENTS * (TCP_MSS + 128)));
    while (room && got < SEGMENTS && (segments[got] = memp_malloc(MEMP_TCP_SEG)))
        got++;
    bool all = got == SEGMENTS;
    while (got)
        memp_free(MEMP_TCP_SEG, segments[--got]);
    mem_free(room);
    return all;
}

static err_t on_receive(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    char request[256];
    char head[HEAD_MAX];
    int code = 0;
    unsigned status;
    (void)arg;
    if (err != ERR_OK || !p) {
        if (p)
            pbuf_free(p);
        tcp_arg(pcb, NULL);
        tcp_recv(pcb, NULL);
        return tcp_close(pcb);
    }
    if (!room_for_answer())
        return ERR_MEM; /* lwIP keeps the request and offers it again */
    size_t len = pbuf_copy_partial(p, request, sizeof(request) - 1, 0);
    request[len] = '\0';
    tcp_recved(pcb, p->tot_len);
    pbuf_free(p);
    char *path = request;
    while (*path && *path != ' ')
        path++;
    enum after after = respond(*path ? path + 1 : "/", &code, &status);
    tcp_write(pcb, head, (u16_t)make_head(head, status, answer.len),
              TCP_WRITE_FLAG_COPY | TCP_WRITE_FLAG_MORE);
    tcp_write(pcb, answer.text, (u16_t)answer.len, TCP_WRITE_FLAG_COPY);
    tcp_output(pcb);
    tcp_close(pcb);
    act(after, code);
    return ERR_OK;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    (void)arg;
    if (err != ERR_OK || !pcb)
        return ERR_VAL;
    tcp_recv(pcb, on_receive);
    return ERR_OK;
}

void http_start(struct command *given, unsigned port, unsigned first_health)
{
    command = given;
    health = first_health;
    struct tcp_pcb *pcb = tcp_new();
    if (!pcb || tcp_bind(pcb, IP_ADDR_ANY, (u16_t)port) != ERR_OK)
        machine_crash("cannot listen");
    pcb = tcp_listen(pcb);
    tcp_accept(pcb, on_accept);
    print("listening on port %u\n", port);
}
