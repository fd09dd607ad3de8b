/* A machine that is none: it prints a boot line and waits for ever at next to no cost. `make bench`
 * runs thousands of it to measure the agent alone, tests use it where a guest would only be slow.
 * Words on the guest's command line make it behave:
 *   fake.print=TEXT  a line on the console         fake.after=MS   end after so long
 *   fake.prompt=TEXT the same without a newline    fake.code=N     ... with this code (0..127)
 *   fake.flood=KIB   so much console text          fake.crash      ... with a signal, at once
 *   fake.touch=MIB   use so much memory            fake.deaf       ignore the power button
 *   fake.exit=N      the line that tells a code
 *   fake.echo        console input comes back        fake.stuck      say so on standard error, stay
 * Its control socket takes lines: "powerdown" and "query". vmm-bridge/fake.c starts it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_FD 4 /* VMM_FD_CONTROL */
#define LINE_MAX_BYTES 64
#define MIB (1024UL * 1024UL)
#define PAGE_BYTES 4096UL
#define EXIT_USAGE 2 /* even: never what a guest's code becomes */

struct fake {
    int connection; /* -1: none */
    int after_ms;   /* -1: never */
    int code;       /* -1: powered off */
    bool deaf;
    bool echo;
};

static void print(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, text, len);

        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static void flood(unsigned long kib)
{
    static const char line[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n";

    for (unsigned long i = 0; i < kib * 16; i++)
        print(line, sizeof(line) - 1);
}

static void touch(unsigned long mib)
{
    char *memory =
        mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        _exit(EXIT_USAGE);
    for (unsigned long at = 0; at < mib * MIB; at += PAGE_BYTES)
        *(volatile char *)(memory + at) = 1;
}

/* The value when word is key=value, NULL otherwise. */
static const char *value_of(const char *word, size_t len, const char *key, size_t *ret_len)
{
    size_t key_len = strlen(key);

    if (len <= key_len || strncmp(word, key, key_len) != 0 || word[key_len] != '=')
        return NULL;
    *ret_len = len - key_len - 1;
    return word + key_len + 1;
}

static void obey_word(struct fake *fake, const char *word, size_t len)
{
    const char *value;
    size_t value_len;

    if ((value = value_of(word, len, "fake.print", &value_len))) {
        print(value, value_len);
        print("\n", 1);
    } else if ((value = value_of(word, len, "fake.exit", &value_len))) {
        print("unikubelet: exit ", 17);
        print(value, value_len);
        print("\n", 1);
    } else if ((value = value_of(word, len, "fake.prompt", &value_len))) {
        print(value, value_len);
    } else if ((value = value_of(word, len, "fake.flood", &value_len))) {
        flood(strtoul(value, NULL, 10));
    } else if ((value = value_of(word, len, "fake.touch", &value_len))) {
        touch(strtoul(value, NULL, 10));
    } else if ((value = value_of(word, len, "fake.after", &value_len))) {
        fake->after_ms = (int)strtol(value, NULL, 10);
    } else if ((value = value_of(word, len, "fake.code", &value_len))) {
        fake->code = (int)strtol(value, NULL, 10) & 127;
        if (fake->after_ms < 0)
            fake->after_ms = 0;
    } else if (len == 10 && strncmp(word, "fake.crash", len) == 0) {
        (void)raise(SIGSEGV);
    } else if (len == 10 && strncmp(word, "fake.stuck", len) == 0) {
        (void)!write(STDERR_FILENO, "fake: stuck. Suberror: 1\nEIP=0\n", 31);
    } else if (len == 9 && strncmp(word, "fake.deaf", len) == 0) {
        fake->deaf = true;
    } else if (len == 9 && strncmp(word, "fake.echo", len) == 0) {
        fake->echo = true;
    }
}

static void obey_cmdline(struct fake *fake, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, " \"");

        if (len > 0)
            obey_word(fake, text, len);
        text += len + (text[len] ? 1 : 0);
    }
}

static void serve(struct fake *fake)
{
    char line[LINE_MAX_BYTES + 1];
    ssize_t n = read(fake->connection, line, LINE_MAX_BYTES);

    if (n <= 0) {
        (void)close(fake->connection);
        fake->connection = -1;
        return;
    }
    line[n] = '\0';
    if (strcmp(line, "query\n") == 0)
        (void)!write(fake->connection, "running\n", 8);
    else if (strcmp(line, "powerdown\n") == 0)
        (void)!write(fake->connection, "ok\n", 3);
    else
        (void)!write(fake->connection, "unknown\n", 8);
    if (strcmp(line, "powerdown\n") == 0 && !fake->deaf) {
        print("fake: power button\n", 19);
        _exit(0);
    }
}

static void echo(struct fake *fake)
{
    char text[256];
    ssize_t n = read(STDIN_FILENO, text, sizeof(text));

    if (n > 0)
        print(text, (size_t)n);
    else
        fake->echo = false;
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
    static const char boot[] = "fake: machine started\n";
    struct fake fake = {.connection = -1, .after_ms = -1, .code = -1};
    int64_t end_ms;

    print(boot, sizeof(boot) - 1);
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--cmdline=", 10) == 0)
            obey_cmdline(&fake, argv[i] + 10);
        else if (strcmp(argv[i], "--version") == 0)
            return 0;
    }
    end_ms = now_ms() + fake.after_ms;
    for (;;) {
        struct pollfd fds[3] = {
            {.fd = fake.connection < 0 ? CONTROL_FD : -1, .events = POLLIN},
            {.fd = fake.connection, .events = POLLIN},
            {.fd = fake.echo ? STDIN_FILENO : -1, .events = POLLIN},
        };
        int64_t left_ms = fake.after_ms < 0 ? -1 : end_ms - now_ms();

        if (fake.after_ms >= 0 && left_ms <= 0)
            _exit(fake.code < 0 ? 0 : fake.code << 1 | 1);
        if (poll(fds, 3, (int)left_ms) < 0 && errno != EINTR)
            _exit(EXIT_USAGE);
        if (fds[0].revents & POLLNVAL) /* no control socket: run by hand */
            (void)pause();
        if (fds[0].revents & POLLIN)
            fake.connection = accept4(CONTROL_FD, NULL, NULL, SOCK_CLOEXEC);
        if (fds[1].revents)
            serve(&fake);
        if (fds[2].revents)
            echo(&fake);
    }
}
