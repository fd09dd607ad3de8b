/* Layers of a hostile registry: whatever the archive says, only "kernel", "initrd" and "disk"
 * appear in the directory that was given, all regular files. */
#include "base/err.h"
#include "base/file.h"
#include "runtime/image_unpack.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_dir(const char *path)
{
    DIR *dir = opendir(path);

    if (!dir)
        abort();
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        struct stat st;

        if (e->d_name[0] == '.')
            continue;
        if (strcmp(e->d_name, "kernel") != 0 && strcmp(e->d_name, "initrd") != 0 &&
            strcmp(e->d_name, "disk") != 0)
            abort();
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            abort();
    }
    closedir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[] = "/tmp/unikubelet-fuzz-XXXXXX";
    char blob[] = "/tmp/unikubelet-fuzz-XXXXXX";
    struct unpack_layer layer = {
        .path = blob,
        .digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        .files = {"/unikraft/bin/kernel", "/unikraft/bin/initrd", "/disk"},
        .whole = {size % 7 == 0},
        .never_tar = size % 11 == 0,
    };
    struct unpack unpack = {.layers = &layer, .layers_len = 1, .dir = dir, .want_urunc = true};
    struct err err;
    int fd = mkstemp(blob);

    if (fd < 0 || !mkdtemp(dir) || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
    if (unpack_open(&unpack, &err) == 0)
        (void)unpack_run(&unpack, &err);
    unpack_close(&unpack);
    buf_free(&unpack.urunc);
    check_dir(dir);
    if (file_remove_tree(dir) < 0)
        abort();
    unlink(blob);
    return 0;
}
