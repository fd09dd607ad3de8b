/* An image's initrd: read, looked up and written anew with a mount in it; what comes out must read
 * back. */
#include "runtime/cpio.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const hidden[] = {"etc/app", "a"};
    const char *archive = (const char *)data;
    char resolved[CPIO_NAME_MAX];
    struct cpio_reader reader;
    struct cpio_entry entry;
    struct cpio_writer w;
    int r;

    (void)cpio_resolve(archive, size, "etc/app/x", true, resolved);
    (void)cpio_has(archive, size, "etc");
    cpio_read(&reader, archive, size);
    while ((r = cpio_next(&reader, &entry)) > 0)
        ;
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        abort();
    cpio_write_begin(&w, fd);
    int copied = cpio_write_copy(&w, archive, size, hidden, 2);

    if (cpio_write_end(&w) != 0)
        abort();
    (void)close(fd);
    if ((r == 0) != (copied == 0))
        abort();
    return 0;
}
