/* Opening and closing the network part, and looking at what the host offers and what lies about on
 * it. The jobs themselves are in network.c. Called by provider. */
#include "runtime/network_priv.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "runtime/cni_guard.h"
#include "runtime/network_ns.h"
#include "runtime/network_work.h"
#include "runtime/statedir_record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define GUARD_MS_MAX                                                            \
    60000 /* for plugins of an agent that died: their own limit is gone with it \
           */
#define BIN_DIRS_MAX 16
#define LIST_MAX 65536 /* uids; far more than any host runs */
#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

static char *copy(const char *text)
{
    return str_empty(text) ? NULL : xstrdup(text);
}

static void free_network(struct network *network)
{
    cleanup_close(&network->lock_fd);
    for (size_t i = 0; i < network->bin_dirs_len; i++)
        free(network->bin_dirs[i]);
    free(network->bin_dirs);
    free(network->conf_dir);
    free(network->netns_dir);
    free(network->store_dir);
    free(network->ipam_dir);
    free(network->pod_cidr);
    free(network->pod_cidr6);
    free(network->bridge);
    free(network->boot_id);
    free(network);
}

static void on_soon(uv_timer_t *timer)
{
    network_pump(timer->data);
}

void network_soon(struct network *network)
{
    (void)uv_timer_start(&network->soon, on_soon, 0, 0);
}

static void on_guard(void *userdata, int result)
{
    struct network *network = userdata;

    if (result < 0)
        log_warn(NULL, "network", "a CNI plugin of an earlier agent still runs after %d s",
                 GUARD_MS_MAX / 1000);
    network->guard_ready = true;
    network_pump(network);
}

static int copy_config(struct network *network, const struct network_config *config,
                       struct err *err)
{
    CLEANUP(buf) struct buf boot_id = BUF_INIT(64);
    int r = file_read(BOOT_ID_FILE, &boot_id);

    if (r < 0)
        return err_set(err, r, "cannot read %s: %s", BOOT_ID_FILE, strerror(-r));
    network->boot_id = xstrndup(boot_id.data, strcspn(buf_str(&boot_id), "\n"));
    if (config->bin_dirs_len == 0 || config->bin_dirs_len > BIN_DIRS_MAX)
        return err_set(err, -EINVAL, "between 1 and %d directories of CNI plugins are needed",
                       BIN_DIRS_MAX);
    if (strlen(config->netns_dir) + strlen("/" NETWORK_NS_PREFIX) + NETWORK_UID_MAX >
        sizeof(((struct net_job *)NULL)->netns))
        return err_set(err, -ENAMETOOLONG, "%s is too long for a netns directory",
                       config->netns_dir);
    network->bin_dirs = xcalloc(config->bin_dirs_len, sizeof(*network->bin_dirs));
    for (size_t i = 0; i < config->bin_dirs_len; i++)
        network->bin_dirs[network->bin_dirs_len++] = xstrdup(config->bin_dirs[i]);
    network->conf_dir = copy(config->conf_dir);
    network->netns_dir = xstrdup(config->netns_dir);
    network->store_dir = xasprintf("%s/net", config->state_dir);
    network->ipam_dir = xasprintf("%s/ipam", config->state_dir);
    network->pod_cidr = copy(config->pod_cidr);
    network->pod_cidr6 = copy(config->pod_cidr6);
    network->bridge = xstrdup(str_empty(config->bridge) ? "unik0" : config->bridge);
    network->plugin_ms_max = config->plugin_ms_max ? config->plugin_ms_max : NETWORK_PLUGIN_MS;
    return 0;
}

/* network_list finds all that is in the directory, and what nobody claims is taken down: an agent
 * with a state directory of its own would take down the networks of another's running machines. The
 * lock lies beside the directory, in which iproute2 takes every file for a namespace. */
static int take_lock(struct network *network, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s.unikubelet.lock", network->netns_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r;

    if (fd < 0)
        return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
    r = file_lock(fd);
    if (r < 0) {
        (void)close(fd);
        if (r == -EWOULDBLOCK)
            return err_set(err, r,
                           "another agent on this host uses %s: stop it, or give this one a "
                           "netnsDir, podCIDR and bridge of its own",
                           network->netns_dir);
        return err_set(err, r, "cannot lock %s: %s", path, strerror(-r));
    }
    network->lock_fd = fd;
    return 0;
}

/* Halves of atomic writes of an agent that died. */
static void remove_halves(const char *dir)
{
    CLEANUP(closedir) DIR *list = opendir(dir);
    const struct dirent *entry;

    while (list && (entry = readdir(list)))
        if (strstr(entry->d_name, ".json.tmp-"))
            (void)unlinkat(dirfd(list), entry->d_name, 0);
}

int network_open(struct uv_loop_s *loop, const struct network_config *config, struct network **ret,
                 struct err *err)
{
    struct network *network = xcalloc(1, sizeof(*network));
    CLEANUP(free) char *fifo = NULL;
    int r = copy_config(network, config, err);

    network->lock_fd = -1;
    network->loop = loop;
    network->pending_end = &network->pending;
    if (r == 0) {
        r = file_mkdirs(network->store_dir, 0700);
        if (r < 0)
            err_set(err, r, "cannot make %s: %s", network->store_dir, strerror(-r));
    }
    if (r == 0)
        r = take_lock(network, err);
    if (r == 0) {
        remove_halves(network->store_dir);
        fifo = xasprintf("%s/plugins", network->store_dir);
        r = cni_guard_open(loop, fifo, GUARD_MS_MAX, on_guard, network, &network->guard, err);
    }
    if (r < 0) {
        free_network(network);
        return r;
    }
    (void)uv_timer_init(loop, &network->soon); /* cannot fail */
    network->soon.data = network;
    /* Not fatal: network_check says it, and the Node is not Ready then. */
    network->netns_dir_ready = netns_dir_prepare(network->netns_dir, NULL) == 0;
    if (config->collect)
        network_collect(network);
    *ret = network;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free_network(handle->data);
}

static void drop_jobs(struct net_job *job)
{
    while (job) {
        struct net_job *next = job->next;

        network_work_cancel(job->work);
        cni_chain_abandon(job->chain);
        network_job_free(job);
        job = next;
    }
}

void network_close(struct network *network)
{
    if (!network)
        return;
    drop_jobs(network->running);
    drop_jobs(network->pending);
    cni_guard_close(network->guard);
    cleanup_close(&network->lock_fd); /* the next agent need not wait for the loop */
    network->lock_fd = -1;
    uv_close((uv_handle_t *)&network->soon, on_closed);
}

int network_check(struct network *network, struct err *err)
{
    CLEANUP(close) int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct cni_list *list;
    bool is_default;
    int r;

    if (tun < 0)
        return err_set(err, -errno, "cannot open /dev/net/tun: %s", strerror(errno));
    if (!network->netns_dir_ready) {
        r = netns_dir_prepare(network->netns_dir, err);
        if (r < 0)
            return r;
        network->netns_dir_ready = true;
    }
    if (access(network->netns_dir, W_OK | X_OK) < 0)
        return err_set(err, -errno, "cannot use %s: %s", network->netns_dir, strerror(errno));
    r = network_current_list(network, NULL, &list, &is_default, NULL, err);
    if (r < 0)
        return r;
    r = cni_list_check(list, (const char *const *)network->bin_dirs, network->bin_dirs_len, err);
    cni_list_free(list);
    return r;
}

int network_load(struct network *network, const char *uid, struct network_result *ret)
{
    struct network_record record;
    int r;

    if (!statedir_uid_ok(uid) || network_store_load(network->store_dir, uid, &record) < 0)
        return -ENOENT;
    r = record.phase == NETWORK_UP && str_eq(record.boot_id, network->boot_id) &&
                netns_alive(record.net.netns)
            ? 0
            : -ENOENT;
    if (r == 0)
        *ret = record.net;
    network_record_free(&record);
    return r;
}

/* Adds the uids among a directory's names to the set. A directory that is not there has none. */
static int collect(const char *path, const char *prefix, const char *suffix, struct map *uids)
{
    CLEANUP(closedir) DIR *dir = opendir(path);
    const struct dirent *entry;

    if (!dir)
        return errno == ENOENT ? 0 : -errno;
    while ((entry = readdir(dir)) && map_len(uids) < LIST_MAX) {
        size_t len = strlen(entry->d_name);
        CLEANUP(free) char *uid = NULL;

        if (len < strlen(prefix) + strlen(suffix) || !str_starts(entry->d_name, prefix) ||
            !str_ends(entry->d_name, suffix))
            continue;
        uid = xstrndup(entry->d_name + strlen(prefix), len - strlen(prefix) - strlen(suffix));
        if (statedir_uid_ok(uid))
            (void)map_set(uids, uid, uids);
    }
    return 0;
}

int network_list(struct network *network, char ***ret_uids, size_t *ret_len)
{
    struct map *uids = map_new();
    const char *uid;
    void *unused;
    char **list;
    size_t len = 0;
    int r = collect(network->store_dir, "", ".json", uids);

    if (r == 0)
        r = collect(network->netns_dir, NETWORK_NS_PREFIX, "", uids);
    if (r == 0) {
        list = xcalloc(map_len(uids) + 1, sizeof(*list));
        for (size_t it = 0; map_next(uids, &it, &uid, &unused);)
            list[len++] = xstrdup(uid);
        *ret_uids = list;
        *ret_len = len;
    }
    map_free(uids);
    return r;
}
