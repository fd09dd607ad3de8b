/* The files of an instance's directory, as found after a crash: meta, exit record, and /proc/mounts
 * for the cgroup layout. What meta's parser takes must come back the same through its writer. */
#include "base/buf.h"
#include "base/str.h"
#include "runtime/cgroup.h"
#include "runtime/instance_files.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct instance_meta meta = {.attempt = 0};
    struct instance_meta again = {.attempt = 0};
    struct instance_record record;
    struct cgroup_layout layout;
    struct buf out = BUF_INIT(INSTANCE_META_MAX);
    char *mounts = xstrndup(text, size);

    if (instance_meta_parse(text, size, &meta) == 0 && instance_meta_format(&meta, &out) == 0) {
        assert(instance_meta_parse(out.data, out.len, &again) == 0);
        assert(str_eq(meta.id, again.id) && str_eq(meta.pod_uid, again.pod_uid) &&
               str_eq(meta.container, again.container) && str_eq(meta.guest, again.guest) &&
               meta.attempt == again.attempt && meta.board == again.board &&
               meta.memory_mib == again.memory_mib && meta.debug_exit == again.debug_exit);
    }
    if (instance_record_parse(text, size, &record) == 0)
        assert(strlen(record.tail) <= SHIM_TAIL_MAX && record.failed <= 0);
    cgroup_layout_parse(mounts, "", &layout);
    assert(layout.len <= CGROUP_HIERARCHIES_MAX);
    cgroup_layout_parse(mounts, "cpu memory pids", &layout);
    free(mounts);
    buf_free(&out);
    return 0;
}
