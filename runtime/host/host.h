/* Inside of unikubelet-host, the small static program of the container image. As the container's
 * process it installs the agent and all that machines need into a directory of the host, and runs
 * the agent there: in the host's mount and cgroup namespaces, so that what the agent starts
 * belongs to the host and not to a container that comes and goes. Called by another name it starts
 * the installed program of that name with the libraries beside it. Knows no Pod. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#define HOST_PATH_MAX 4096
#define HOST_ARGS_MAX 256 /* of the agent; a Pod's args are far fewer */
#define HOST_ID_MAX 128   /* name of one installed version */
#define HOST_TREE_DEPTH_MAX 16
#define HOST_VERSIONS_MAX 64 /* installed side by side and looked at */

struct host_options {
    const char *payload;   /* in the container: what is installed, with a file "id" in it */
    const char *install;   /* on the host: the directory of all versions */
    const char *cgroup;    /* name of the machines' cgroup; the agent's is NAME-agent */
    const char *state_dir; /* for remove */
    const char *run_dir;
    const char *netns_dir;
    const char *bridge;
};

/* Prints "unikubelet-host: ..." on standard error and returns -1. */
int host_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What of the container is still in reach on the host's side: descriptors of directories. */
struct host_kept {
    int payload; /* -1: there is none */
    int account; /* the Pod's ServiceAccount, -1: none; the agent inherits it */
};

/* enter.c. Moves the calling process, which must have one thread, into the mount and cgroup
 * namespaces of process 1. */
int host_enter(const struct host_options *options, struct host_kept *ret_kept);
/* Out of the container's cgroups into one of the host's, in every hierarchy: devices are then the
 * host's, and the end of the container's groups is not that of what is started here. */
int host_enter_cgroup(const char *name);
/* Kills what is below the group, in every hierarchy, and removes it. */
void host_remove_cgroup(const char *name);

/* install.c. Copies the payload to install/<id>, atomically; what is there already is kept.
 * ret_dir: HOST_PATH_MAX bytes. */
int host_install(int payload, const struct host_options *options, char *ret_dir);
/* Removes other versions that no process runs from. */
void host_install_prune(const char *install, const char *keep);
/* rm -r, not across mounts; 0 also when it is absent. */
int host_remove_tree(const char *path);

/* run.c. The agent: ARGS after the flags that only this program knows. Does not return. */
void host_exec_agent(const char *dir, int account, char **args, size_t len);
/* Called by another name: libexec/NAME beside us, with our loader and libraries. */
int host_launch(const char *self, char **argv);

/* remove.c. Machines that are left, and everything of ours on the host. */
int host_remove(const struct host_options *options);
