/* What tests of the network talk to: UDP port 7 sends back what comes; TCP port 9000 takes a stream
 * and answers its length and CRC-32; 9001 takes a number and sends so many bytes; 9002 takes "HOST
 * PORT PATH", resolves HOST where it is a name, and passes on what HTTP GET gives there. */
#include "guest.h"

#include "lwip/dns.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"

#include <stdlib.h>
#include <string.h>

#define PORT_ECHO 7
#define PORT_SINK 9000
#define PORT_SOURCE 9001
#define PORT_FETCH 9002
#define TALKS_MAX 64
#define LINE_MAX 200
#define PERIOD 251 /* a prime, so that no segment of the counting bytes looks like another */

/* One connection of a client, and for a fetch the one that it made the guest open. */
struct talk {
    bool used;
    struct tcp_pcb *client, *server;
    uint32_t crc, count;  /* sink */
    uint32_t left, phase; /* source */
    char line[LINE_MAX];  /* source, fetch: what was asked */
    unsigned len;
    bool asked;
};

static struct talk talks[TALKS_MAX];
static uint32_t crc_table[256];

static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
}

static void release(struct talk *talk)
{
    if (!talk->client && !talk->server)
        talk->used = false;
}

static void forget(struct tcp_pcb *pcb)
{
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_err(pcb, NULL);
}

static err_t end_client(struct talk *talk)
{
    struct tcp_pcb *pcb = talk->client;
    talk->client = NULL;
    if (pcb) {
        forget(pcb);
        tcp_close(pcb);
    }
    release(talk);
    return ERR_OK;
}

static void on_client_error(void *arg, err_t err)
{
    struct talk *talk = arg;
    (void)err;
    talk->client = NULL; /* freed by lwIP already */
    release(talk);
}

static struct talk *begin(struct tcp_pcb *pcb)
{
    for (unsigned i = 0; i < TALKS_MAX; i++) {
        if (talks[i].used)
            continue;
        memset(&talks[i], 0, sizeof(talks[i]));
        talks[i].used = true;
        talks[i].client = pcb;
        talks[i].crc = 0xffffffffu;
        tcp_arg(pcb, &talks[i]);
        tcp_err(pcb, on_client_error);
        return &talks[i];
    }
    return NULL;
}

/* ---- sink ---- */

static void answer_sum(struct talk *talk)
{
    static const char hex[] = "0123456789abcdef";
    char text[24];
    unsigned at = sizeof(text);
    uint32_t crc = ~talk->crc, count = talk->count;
    text[--at] = '\n';
    for (int i = 0; i < 8; i++, crc >>= 4)
        text[--at] = hex[crc & 15];
    text[--at] = ' ';
    do {
        text[--at] = (char)('0' + count % 10);
        count /= 10;
    } while (count);
    tcp_write(talk->client, text + at, (u16_t)(sizeof(text) - at), TCP_WRITE_FLAG_COPY);
    tcp_output(talk->client);
}

static err_t on_sink(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct talk *talk = arg;
    (void)err;
    if (!p) {
        answer_sum(talk);
        return end_client(talk);
    }
    for (struct pbuf *q = p; q; q = q->next) {
        const uint8_t *byte = q->payload;
        for (unsigned i = 0; i < q->len; i++)
            talk->crc = crc_table[(talk->crc ^ byte[i]) & 255] ^ (talk->crc >> 8);
    }
    talk->count += p->tot_len;
    tcp_recved(pcb, p->tot_len);
    pbuf_free(p);
    return ERR_OK;
}

/* ---- source ---- */

static err_t pour(struct talk *talk)
{
    static uint8_t pattern[2 * PERIOD];
    if (!pattern[1])
        for (unsigned i = 0; i < sizeof(pattern); i++)
            pattern[i] = (uint8_t)(i % PERIOD);
    while (talk->left && tcp_sndbuf(talk->client) >= PERIOD) {
        u16_t len = talk->left < PERIOD ? (u16_t)talk->left : PERIOD;
        if (tcp_write(talk->client, pattern + talk->phase, len, TCP_WRITE_FLAG_COPY) != ERR_OK)
            break;
        talk->left -= len;
        talk->phase = (talk->phase + len) % PERIOD;
    }
    tcp_output(talk->client);
    return talk->left ? ERR_OK : end_client(talk);
}

static err_t on_source_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
    (void)pcb;
    (void)len;
    return pour(arg);
}

/* ---- fetch ---- */

static void on_server_error(void *arg, err_t err)
{
    struct talk *talk = arg;
    (void)err;
    talk->server = NULL;
    if (talk->client)
        tcp_write(talk->client, "error: no connection\n", 21, TCP_WRITE_FLAG_COPY);
    end_client(talk);
}

static err_t on_server_data(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct talk *talk = arg;
    (void)err;
    if (!p) {
        talk->server = NULL;
        forget(pcb);
        tcp_close(pcb);
        return end_client(talk);
    }
    /* Answers are small: what does not fit is the test's mistake, and it will see less. */
    for (struct pbuf *q = p; q && talk->client; q = q->next)
        tcp_write(talk->client, q->payload, q->len, TCP_WRITE_FLAG_COPY);
    if (talk->client)
        tcp_output(talk->client);
    tcp_recved(pcb, p->tot_len);
    pbuf_free(p);
    return ERR_OK;
}

static char *word(char **at)
{
    char *begin = *at;
    while (**at && **at != ' ')
        (*at)++;
    if (**at)
        *(*at)++ = '\0';
    return begin;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
    static const char rest[] = " HTTP/1.0\r\nHost: guest\r\n\r\n";
    struct talk *talk = arg;
    const char *path = talk->line + strlen(talk->line) + 1;
    (void)err;
    path += strlen(path) + 1;
    tcp_write(pcb, "GET ", 4, TCP_WRITE_FLAG_COPY | TCP_WRITE_FLAG_MORE);
    tcp_write(pcb, path, (u16_t)strlen(path), TCP_WRITE_FLAG_COPY | TCP_WRITE_FLAG_MORE);
    tcp_write(pcb, rest, sizeof(rest) - 1, TCP_WRITE_FLAG_COPY);
    tcp_output(pcb);
    return ERR_OK;
}

static void on_resolved(const char *name, const ip_addr_t *address, void *arg)
{
    struct talk *talk = arg;
    const char *port = talk->line + strlen(talk->line) + 1;
    struct tcp_pcb *pcb = address ? tcp_new() : NULL;
    (void)name;
    if (!pcb || !talk->client) {
        if (talk->client)
            tcp_write(talk->client, "error: no such name\n", 20, TCP_WRITE_FLAG_COPY);
        end_client(talk);
        return;
    }
    talk->server = pcb;
    tcp_arg(pcb, talk);
    tcp_err(pcb, on_server_error);
    tcp_recv(pcb, on_server_data);
    if (tcp_connect(pcb, address, (u16_t)atoi(port), on_connected) != ERR_OK)
        on_server_error(talk, ERR_CONN);
}

static void fetch(struct talk *talk)
{
    char *at = talk->line;
    const char *host = word(&at);
    ip_addr_t address;
    (void)word(&at);
    (void)word(&at);
    err_t err = dns_gethostbyname(host, &address, on_resolved, talk);
    if (err != ERR_INPROGRESS)
        on_resolved(host, err == ERR_OK ? &address : NULL, talk);
}

/* ---- a line, then what it asks for ---- */

static err_t on_line(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct talk *talk = arg;
    bool source = pcb->local_port == PORT_SOURCE;
    (void)err;
    if (!p)
        return talk->asked ? ERR_OK : end_client(talk); /* half closed: the answer still goes */
    unsigned room = sizeof(talk->line) - 4 - talk->len;
    unsigned len = p->tot_len < room ? p->tot_len : room;
    talk->len += pbuf_copy_partial(p, talk->line + talk->len, (u16_t)len, 0);
    tcp_recved(pcb, p->tot_len);
    pbuf_free(p);
    unsigned end = 0;
    while (end < talk->len && talk->line[end] != '\n')
        end++;
    if (end == talk->len || talk->asked)
        return ERR_OK;
    talk->line[end] = '\0';
    talk->asked = true;
    if (!source) {
        fetch(talk);
        return ERR_OK;
    }
    talk->left = (uint32_t)atoi(talk->line);
    tcp_sent(pcb, on_source_sent);
    return pour(talk);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    (void)arg;
    if (err != ERR_OK || !pcb)
        return ERR_VAL;
    if (!begin(pcb)) {
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    tcp_recv(pcb, pcb->local_port == PORT_SINK ? on_sink : on_line);
    return ERR_OK;
}

static void listen_on(u16_t port)
{
    struct tcp_pcb *pcb = tcp_new();
    if (!pcb || tcp_bind(pcb, IP_ADDR_ANY, port) != ERR_OK || !(pcb = tcp_listen(pcb)))
        machine_crash("cannot listen");
    tcp_accept(pcb, on_accept);
}

static void on_datagram(void *arg, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *from,
                        u16_t port)
{
    (void)arg;
    udp_sendto(pcb, p, from, port);
    pbuf_free(p);
}

/* DNS0 of netdev.ip=IP/N:GW:DNS0:... */
static void set_server(const char *netdev)
{
    char text[16];
    unsigned len = 0;
    ip_addr_t address;
    for (int colons = 0; *netdev && colons < 2; netdev++)
        colons += *netdev == ':';
    while (netdev[len] && netdev[len] != ':' && len < sizeof(text) - 1)
        len++;
    memcpy(text, netdev, len);
    text[len] = '\0';
    if (len && ipaddr_aton(text, &address))
        dns_setserver(0, &address);
}

void traffic_start(const struct command *command)
{
    struct udp_pcb *echo = udp_new();
    crc_init();
    if (!echo || udp_bind(echo, IP_ADDR_ANY, PORT_ECHO) != ERR_OK)
        machine_crash("cannot bind");
    udp_recv(echo, on_datagram, NULL);
    listen_on(PORT_SINK);
    listen_on(PORT_SOURCE);
    listen_on(PORT_FETCH);
    set_server(command->netdev);
}
