/* Programs of one installed version. They bring their libraries along, since the host may have
 * others or none: bin/NAME is a link to unikubelet-host, which starts libexec/NAME with bin/ld.so.
 * The loader lies in bin, because /proc/self/exe is where QEMU looks from for its firmware. */
#include "runtime/host/host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOST_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define HOST_CA_FILE "/etc/ssl/certs/ca-certificates.crt"

int host_launch(const char *self, char **argv)
{
    const char *slash = strrchr(self, '/');
    char bin[HOST_PATH_MAX];
    char loader[HOST_PATH_MAX + 16];
    char library[HOST_PATH_MAX + 16];
    char modules[HOST_PATH_MAX + 16];
    char program[2 * HOST_PATH_MAX];
    char *args[HOST_ARGS_MAX + 8];
    size_t len = 0;
    ssize_t n = readlink("/proc/self/exe", bin, sizeof(bin) - 1);
    char path_flag[] = "--library-path";
    char name_flag[] = "--argv0";

    /* The name is the link's; the place is that of what it leads to, wherever the link lies. */
    if (n <= 0)
        return host_fail("cannot read /proc/self/exe: %s", strerror(errno)), 127;
    bin[n] = '\0';
    *strrchr(bin, '/') = '\0';
    (void)snprintf(loader, sizeof(loader), "%s/ld.so", bin);
    (void)snprintf(library, sizeof(library), "%s/../lib", bin);
    (void)snprintf(modules, sizeof(modules), "%s/../lib/xtables", bin);
    (void)snprintf(program, sizeof(program), "%s/../libexec/%s", bin, slash + 1);
    if (setenv("XTABLES_LIBDIR", modules, 0) < 0)
        return EXIT_FAILURE;
    args[len++] = loader;
    args[len++] = path_flag;
    args[len++] = library;
    args[len++] = name_flag;
    args[len++] = argv[0];
    args[len++] = program;
    for (size_t i = 1; argv[0] && argv[i]; i++) {
        if (i > HOST_ARGS_MAX)
            return host_fail("more than %d arguments", HOST_ARGS_MAX), 127;
        args[len++] = argv[i];
    }
    args[len] = NULL;
    (void)execv(loader, args);
    return host_fail("cannot run %s: %s", loader, strerror(errno)), 127;
}

void host_exec_agent(const char *dir, int account, char **args, size_t len)
{
    char program[HOST_PATH_MAX + 32];
    char path[HOST_PATH_MAX + 128];
    char flags[4][HOST_PATH_MAX + 128];
    char *argv[HOST_ARGS_MAX + 8];
    size_t used = 0;

    if (len > HOST_ARGS_MAX) {
        (void)host_fail("more than %d arguments", HOST_ARGS_MAX);
        return;
    }
    (void)snprintf(program, sizeof(program), "%s/bin/unikubelet", dir);
    (void)snprintf(path, sizeof(path), HOST_PATH ":%s/bin", dir);
    (void)setenv("PATH", path, 1); /* plugins look for iptables: the host's goes before ours */
    (void)snprintf(flags[0], sizeof(flags[0]), "--service-account-dir=/proc/self/fd/%d", account);
    (void)snprintf(flags[1], sizeof(flags[1]), "--qemu-binary=%s/bin/qemu-system-x86_64", dir);
    (void)snprintf(flags[2], sizeof(flags[2]), "--cni-bin-dirs=/opt/cni/bin,/usr/lib/cni,%s/bin",
                   dir);
    (void)snprintf(flags[3], sizeof(flags[3]), "--registry-ca-file=%s/share/ca-certificates.crt",
                   dir);
    argv[used++] = program;
    for (size_t i = 0; i < 4; i++) {
        if ((i > 0 || account >= 0) && (i < 3 || access(HOST_CA_FILE, R_OK) < 0))
            argv[used++] = flags[i];
    }
    for (size_t i = 0; i < len; i++)
        argv[used++] = args[i];
    argv[used] = NULL;
    (void)execv(program, argv);
    (void)host_fail("cannot run %s: %s", program, strerror(errno));
}
