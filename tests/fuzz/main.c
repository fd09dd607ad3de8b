/* Replays corpora: hands each file given as an argument, or found in a directory given as one, to
 * the harness it is linked with, so that what a fuzzer once found is tested in each `make check`.
 * Not a fuzzer: clang -fsanitize=fuzzer brings a main of its own instead of this file. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_BYTES_MAX (1 << 20)
#define INPUT_DEPTH_MAX 8 /* of directories below an argument */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    CLEANUP(buf) struct buf input = BUF_INIT(INPUT_BYTES_MAX);
    CLEANUP(free) uint8_t *exact = NULL;
    int r = file_read(path, &input);

    if (r < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(-r));
        return r;
    }
    /* Named before it runs: after a crash the last line says which input it was. */
    printf("%s\n", path);
    fflush(stdout);
    /* A copy of exactly its size, so that ASan sees a read one byte past the end. */
    exact = xmalloc(input.len);
    memcpy(exact, buf_str(&input), input.len);
    (void)LLVMFuzzerTestOneInput(exact, input.len);
    return 1;
}

/* Returns how many inputs ran, or a negative errno. */
static int replay(const char *path, int depth)
{
    CLEANUP(closedir) DIR *dir = NULL;
    const struct dirent *entry;
    struct stat st;
    int count = 0;

    if (stat(path, &st) < 0 || depth > INPUT_DEPTH_MAX) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return -1;
    }
    if (!S_ISDIR(st.st_mode))
        return replay_file(path);
    dir = opendir(path);
    if (!dir) {
        perror(path);
        return -1;
    }
    while ((entry = readdir(dir))) {
        CLEANUP(free) char *child = NULL;
        int r;

        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
            continue;
        child = xasprintf("%s/%s", path, entry->d_name);
        r = replay(child, depth + 1);
        if (r < 0)
            return r;
        count += r;
    }
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;

    for (int i = 1; i < argc; i++) {
        int r = replay(argv[i], 0);

        if (r < 0)
            return 1;
        count += r;
    }
    if (count == 0) {
        fprintf(stderr, "usage: %s FILE-OR-DIRECTORY...\n", argv[0]);
        return 1;
    }
    printf("%d inputs\n", count);
    return 0;
}
