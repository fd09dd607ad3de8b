/* The end of it all on one host, for `helm uninstall`: the agent is gone, its Pods were deleted;
 * what is left is killed and removed. Called in the host's namespaces. rtnetlink(7). */
#include "runtime/host/host.h"

#include <dirent.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY_MOUNTS_MAX                                                                        \
    256                      /* there is one, and one for each Pod's that was not ended properly \
                              */
#define NETNS_PREFIX "unik-" /* NETWORK_NS_PREFIX of runtime/network_priv.h */

static void remove_netns(const char *dir)
{
    DIR *list = opendir(dir);
    const struct dirent *entry;
    char path[HOST_PATH_MAX];

    while (list && (entry = readdir(list))) {
        if (strncmp(entry->d_name, NETNS_PREFIX, strlen(NETNS_PREFIX)) != 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
            continue;
        (void)unlink(path);
    }
    if (list)
        (void)closedir(list);
    (void)snprintf(path, sizeof(path), "%s.unikubelet.lock", dir);
    (void)unlink(path);
}

/* The bridge of the built-in network; another one is not ours. */
static void remove_link(const char *name)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
    } request = {
        .head = {.nlmsg_len = sizeof(request),
                 .nlmsg_type = RTM_DELLINK,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)if_nametoindex(name)},
    };
    char answer[256];
    int fd;

    if (request.link.ifi_index == 0)
        return;
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return;
    if (send(fd, &request, sizeof(request), 0) > 0)
        (void)!recv(fd, answer, sizeof(answer), 0);
    (void)close(fd);
}

/* The last of the tmpfs below dir, which nothing is mounted upon. proc(5): id, parent, device,
 * root, mount point, options, fields, "-", type. */
static bool find_memory(const char *dir, char point[HOST_PATH_MAX])
{
    char line[2 * HOST_PATH_MAX];
    char at[HOST_PATH_MAX];
    FILE *table = fopen("/proc/self/mountinfo", "re");
    bool found = false;

    while (table && fgets(line, sizeof(line), table)) {
        if (sscanf(line, "%*s %*s %*s %*s %4095s", at) != 1 || !strstr(line, " - tmpfs ") ||
            strncmp(at, dir, strlen(dir)) != 0 || at[strlen(dir)] != '/')
            continue;
        (void)snprintf(point, HOST_PATH_MAX, "%s", at);
        found = true;
    }
    if (table)
        (void)fclose(table);
    return found;
}

/* What Pods had as volumes in memory. Other mounts there are somebody else's, and their files too:
 * host_remove_tree does not enter them. */
static void remove_memory(const char *dir)
{
    char point[HOST_PATH_MAX];

    for (int i = 0; i < MEMORY_MOUNTS_MAX && find_memory(dir, point); i++) {
        if (umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
            return;
    }
}

int host_remove(const struct host_options *options)
{
    char group[64];
    int r;

    host_remove_cgroup(options->cgroup);
    (void)snprintf(group, sizeof(group), "%s-agent", options->cgroup);
    host_remove_cgroup(group);
    remove_netns(options->netns_dir);
    if (options->bridge[0])
        remove_link(options->bridge);
    remove_memory(options->run_dir);
    remove_memory(options->state_dir);
    r = host_remove_tree(options->run_dir);
    if (host_remove_tree(options->state_dir) < 0)
        r = -1;
    if (host_remove_tree(options->install) < 0)
        r = -1;
    return r;
}
