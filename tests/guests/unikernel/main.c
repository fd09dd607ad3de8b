/* A unikernel for tests. Arguments after "--": --port=N --exit=N --after=MS --crash --hang
 * --mem=MIB --print=TEXT --lines=N --echo --listen-after=MS --health=STATUS. With an address it
 * serves HTTP (http.c); without, or with --exit, it ends by itself when told to. */
#include "guest.h"

#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include <stdlib.h>
#include <string.h>

#define ECHO_MS 10

struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp, memmap;
    uint32_t memmap_entries;
};

struct module {
    uint64_t addr, size, cmdline, reserved;
};

struct memmap_entry {
    uint64_t addr, size;
    uint32_t type, reserved;
};

struct options {
    unsigned port;
    bool exit, crash, hang, echo;
    int code;
    uint32_t after_ms, lines;
    uint32_t listen_after_ms; /* 0: from the start, or already */
    unsigned health;
};

extern char image_end[];
void kernel_main(const struct start_info *info);
void net_input(const void *frame, size_t len);

static struct command command;
static struct netif netif;

u32_t sys_now(void)
{
    return machine_ms();
}

static err_t link_output(struct netif *interface, struct pbuf *p)
{
    (void)interface;
    return net_send(p->payload, p->len) < 0 ? ERR_MEM : ERR_OK;
}

static err_t netif_setup(struct netif *interface)
{
    interface->name[0] = 'e';
    interface->name[1] = 'n';
    interface->output = etharp_output;
    interface->linkoutput = link_output;
    interface->mtu = 1500;
    interface->hwaddr_len = 6;
    net_mac(interface->hwaddr);
    interface->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

void net_input(const void *frame, size_t len)
{
    struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_POOL);
    if (!p)
        return;
    pbuf_take(p, frame, (u16_t)len);
    if (netif.input(p, &netif) != ERR_OK)
        pbuf_free(p);
}

static void setup_heap(const struct start_info *info)
{
    const struct memmap_entry *map = (const void *)(uintptr_t)info->memmap;
    const struct module *modules = (const void *)(uintptr_t)info->modlist;
    for (uint32_t i = 0; i < info->memmap_entries; i++) {
        uintptr_t end = (uintptr_t)(map[i].addr + map[i].size);
        if (map[i].type != 1 || map[i].addr > 0x100000 || end <= (uintptr_t)image_end)
            continue;
        if (info->nr_modules && modules[0].addr > (uintptr_t)image_end && modules[0].addr < end)
            end = (uintptr_t)modules[0].addr; /* the initrd is at the top */
        heap_init((uintptr_t)image_end, end);
    }
}

static void setup_files(const struct start_info *info)
{
    const struct module *modules = (const void *)(uintptr_t)info->modlist;
    if (info->nr_modules)
        files_init((uintptr_t)modules[0].addr, (uintptr_t)(modules[0].addr + modules[0].size));
}

static const char *value_of(const char *arg, const char *name)
{
    size_t len = strlen(name);
    return strncmp(arg, name, len) == 0 ? arg + len : NULL;
}

static void take_memory(uint32_t mib)
{
    for (uint32_t i = 0; i < mib; i++) {
        char *piece = heap_take(1024 * 1024);
        if (!piece)
            machine_crash("out of memory");
        memset(piece, 0x5a, 1024 * 1024);
    }
    print("took %u MiB\n", mib);
}

static void parse_options(struct options *options)
{
    for (unsigned i = 1; i < command.argc; i++) {
        const char *arg = command.argv[i], *value;
        if ((value = value_of(arg, "--port=")))
            options->port = (unsigned)atoi(value);
        else if ((value = value_of(arg, "--exit=")))
            options->exit = true, options->code = atoi(value);
        else if ((value = value_of(arg, "--after=")))
            options->after_ms = (uint32_t)atoi(value);
        else if ((value = value_of(arg, "--listen-after=")))
            options->listen_after_ms = (uint32_t)atoi(value);
        else if ((value = value_of(arg, "--health=")))
            options->health = (unsigned)atoi(value);
        else if ((value = value_of(arg, "--lines=")))
            options->lines = (uint32_t)atoi(value);
        else if ((value = value_of(arg, "--print=")))
            print("%s\n", value);
        else if ((value = value_of(arg, "--mem=")))
            take_memory((uint32_t)atoi(value));
        else if (strcmp(arg, "--crash") == 0)
            options->crash = true;
        else if (strcmp(arg, "--hang") == 0)
            options->hang = true;
        else if (strcmp(arg, "--echo") == 0)
            options->echo = true;
    }
}

static void start_network(const struct options *options)
{
    if (!command.ip) {
        print("no address: no network\n");
        return;
    }
    if (!command.mmio_base || net_init(command.mmio_base, command.mmio_irq) < 0)
        machine_crash("no network device where the command line says");
    ip4_addr_t ip = {command.ip}, mask = {command.netmask}, gateway = {command.gateway};
    lwip_init();
    netif_add(&netif, &ip, &mask, &gateway, NULL, netif_setup, ethernet_input);
    netif_set_default(&netif);
    netif_set_up(&netif); /* announces the address by a gratuitous ARP */
    print("address %s\n", command.netdev);
    traffic_start(&command);
    if (!options->listen_after_ms)
        http_start(&command, options->port, options->health);
}

static void end_when_told(const struct options *options)
{
    if (options->crash)
        machine_crash("asked to");
    if (options->hang)
        for (;;)
            __asm__ volatile("cli; hlt");
    if (options->exit)
        machine_exit(options->code);
}

/* What is typed on the console comes back a line at a time; "exit" ends the guest. */
static void echo_lines(void)
{
    static char line[256];
    static size_t len;
    for (int c; (c = console_get()) >= 0;) {
        if (c != '\n' && c != '\r' && len < sizeof(line) - 1) {
            line[len++] = (char)c;
            continue;
        }
        line[len] = '\0';
        len = 0;
        print("you typed: %s\n", line);
        if (strcmp(line, "exit") == 0)
            machine_exit(0);
    }
}

/* The timer runs only while a connection or a deadline needs it. */
static uint32_t wait_ms(const struct options *options)
{
    uint32_t ms = 0;
    if (command.ip && (tcp_active_pcbs || tcp_tw_pcbs))
        ms = sys_timeouts_sleeptime();
    if (options->after_ms) {
        uint32_t now = machine_ms();
        uint32_t left = now < options->after_ms ? options->after_ms - now : 1;
        ms = ms && ms < left ? ms : left;
    }
    if (options->listen_after_ms) {
        uint32_t now = machine_ms();
        uint32_t left = now < options->listen_after_ms ? options->listen_after_ms - now : 1;
        ms = ms && ms < left ? ms : left;
    }
    if (options->echo) /* the console is polled */
        ms = ms && ms < ECHO_MS ? ms : ECHO_MS;
    return ms;
}

void kernel_main(const struct start_info *info)
{
    struct options options = {.port = 8080, .health = 200};
    setup_heap(info);
    machine_init();
    setup_files(info);
    command_parse(&command, (const char *)(uintptr_t)info->cmdline);
    print("unikernel %s booted\n", command.argc ? command.argv[0] : "?");
    parse_options(&options);
    for (uint32_t i = 0; i < options.lines; i++)
        print("line %u of %u\n", i + 1, options.lines);
    if (!options.after_ms)
        end_when_told(&options);
    start_network(&options);
    for (;;) {
        while (net_poll()) {
        }
        if (command.ip)
            sys_check_timeouts();
        if (options.echo)
            echo_lines();
        if (options.listen_after_ms && command.ip && machine_ms() >= options.listen_after_ms) {
            options.listen_after_ms = 0;
            http_start(&command, options.port, options.health);
        }
        if (options.after_ms && machine_ms() >= options.after_ms) {
            options.after_ms = 0;
            end_when_told(&options);
        }
        machine_wait(wait_ms(&options));
    }
}
