/* Usage of one cgroup through files that stay open: for whoever asks again every few seconds, of
 * many machines. Called by stats.c. */
#include "runtime/cgroup.h"

#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 16384

static int open_file(const struct cgroups *all, const char *id, const char *controller,
                     const char *v1_name, const char *v2_name, int *ret_fd)
{
    char path[CGROUP_PATH_MAX];
    int version = cgroup_file(all, controller, id, v1_name, v2_name, path, sizeof(path));
    int fd = version < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);

    if (version >= 0 && fd < 0)
        version = -errno;
    *ret_fd = fd;
    return version;
}

int cgroup_probe_open(const struct cgroups *all, const char *id, struct cgroup_probe *ret)
{
    struct cgroup_probe probe = {.cpu = -1, .memory = -1, .stat = -1};
    bool v2 =
        cgroup_file(all, "memory", id, "", "", (char[CGROUP_PATH_MAX]){""}, CGROUP_PATH_MAX) == 2;
    int r = open_file(all, id, v2 ? "cpu" : "cpuacct", "cpuacct.usage", "cpu.stat", &probe.cpu);

    if (r >= 0)
        r = open_file(all, id, "memory", "memory.usage_in_bytes", "memory.current", &probe.memory);
    if (r >= 0)
        r = open_file(all, id, "memory", "memory.stat", "memory.stat", &probe.stat);
    probe.version = r;
    if (r < 0) {
        cgroup_probe_close(&probe);
        return r;
    }
    *ret = probe;
    return 0;
}

void cgroup_probe_close(struct cgroup_probe *probe)
{
    int *const fds[] = {&probe->cpu, &probe->memory, &probe->stat};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            (void)close(*fds[i]);
        *fds[i] = -1;
    }
}

/* The number behind "key " at a line's start; key "": at the text's start. */
static int read_number(int fd, const char *key, uint64_t *ret)
{
    char text[TEXT_MAX];
    size_t len = strlen(key);
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n < 0)
        return -errno;
    text[n] = '\0';
    for (const char *line = text; *line;) {
        if (strncmp(line, key, len) == 0 && line[len] >= '0' && line[len] <= '9') {
            *ret = strtoull(line + len, NULL, 10);
            return 0;
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return -EBADMSG;
}

int cgroup_probe_read(struct cgroup_probe *probe, uint64_t now_ns, struct cgroup_usage *ret)
{
    bool v2 = probe->version == 2;
    struct cgroup_usage usage;
    int r = read_number(probe->cpu, v2 ? "usage_usec " : "", &usage.cpu_ns);

    if (r == 0)
        r = read_number(probe->memory, "", &usage.memory_bytes);
    if (r < 0)
        return r;
    if (v2)
        usage.cpu_ns *= 1000;
    if (!probe->known || usage.memory_bytes != probe->memory_bytes ||
        now_ns - probe->stat_ns > CGROUP_STAT_NS) {
        r = read_number(probe->stat, v2 ? "inactive_file " : "total_inactive_file ",
                        &probe->inactive_bytes);
        if (r < 0)
            return r;
        probe->known = true;
        probe->stat_ns = now_ns;
        probe->memory_bytes = usage.memory_bytes;
    }
    usage.working_set_bytes =
        probe->inactive_bytes < usage.memory_bytes ? usage.memory_bytes - probe->inactive_bytes : 0;
    *ret = usage;
    return 0;
}
