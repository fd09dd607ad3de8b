/* Which guest an image is, for the layouts of the makers: urunc's labels, annotations and
 * urunc.json, solo5's note, kraft's ROMs and kernel-less images; and the sentences of refusal. */
#include "tests/unit/elf_fixture.h"
#include "tests/unit/image_world.h"

#include "runtime/image_elf.h"

#define LABELS(text) \
    "{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Labels\":{" text "}}}"
#define U "\"com.urunc.unikernel."
#define URUNC_UNIKRAFT                                             \
    U "unikernelType\":\"unikraft\"," U "hypervisor\":\"qemu\"," U \
      "binary\":\"/unikernel/kernel\"," U "initrd\":\"/unikernel/initrd\""
/* unikraft, qemu, /unikernel/kernel, /unikernel/initrd, false */
#define URUNC_JSON                                                                        \
    "{" U "unikernelType\":\"dW5pa3JhZnQ=\"," U "hypervisor\":\"cWVtdQ==\"," U            \
    "binary\":\"L3VuaWtlcm5lbC9rZXJuZWw=\"," U "initrd\":\"L3VuaWtlcm5lbC9pbml0cmQ=\"," U \
    "mountRootfs\":\"ZmFsc2U=\"}"
#define URUNC_MEWZ "{" U "unikernelType\":\"bWV3eg==\"," U "binary\":\"L2s=\"}"

struct kind_case {
    const char *what;
    const char *config;
    struct layer_spec spec;
    struct fake_file files[3];
    size_t files_len;
    const char *raw;     /* the layer is this text, no tar */
    struct elf_case elf; /* the text of file elf_at */
    int elf_at;          /* -1: none */
    const char *kind;
    const char *kernel;
    const char *initrd;
    const char *disk;
    const char *error;
};

static const struct kind_case cases[] = {
    {.what = "urunc's labels",
     .config = LABELS(URUNC_UNIKRAFT),
     .files_len = 3,
     .files = {{.path = "unikernel/kernel", .text = KERNEL},
               {.path = "./unikernel/initrd", .text = INITRD},
               {.path = "unikraft/bin/kernel", .text = "another"}},
     .elf_at = -1,
     .kind = "unikraft",
     .kernel = KERNEL,
     .initrd = INITRD},
    {.what = "urunc.json, with base64 values",
     .config = CONFIG_LINUX,
     .files_len = 3,
     .files = {{.path = "unikernel/kernel", .text = KERNEL},
               {.path = "unikernel/initrd", .text = INITRD},
               {.path = "urunc.json", .text = URUNC_JSON}},
     .elf_at = -1,
     .kind = "unikraft",
     .kernel = KERNEL,
     .initrd = INITRD},
    {.what = "urunc.json wins over a well-known path",
     .config = CONFIG_LINUX,
     .files_len = 3,
     .files = {{.path = "unikraft/bin/kernel", .text = "another"},
               {.path = "unikernel/kernel", .text = KERNEL},
               {.path = "./urunc.json", .text = URUNC_JSON}},
     .elf_at = -1,
     .kind = "unikraft",
     .kernel = KERNEL},
    {.what = "urunc.json of a type that is not run here",
     .config = CONFIG_LINUX,
     .files_len = 2,
     .files = {{.path = "k", .text = KERNEL}, {.path = "urunc.json", .text = URUNC_MEWZ}},
     .elf_at = -1,
     .error = "is of urunc's type \"mewz\", which this node does not run"},
    {.what = "urunc.json that is none",
     .config = CONFIG_LINUX,
     .files_len = 1,
     .files = {{.path = "urunc.json", .text = "{\"com.urunc.unikernel.binary\":\"/k\"}"}},
     .elf_at = -1,
     .error = "/urunc.json: com.urunc.unikernel.binary is no base64"},
    {.what = "urunc without a binary",
     .config = LABELS(U "unikernelType\":\"unikraft\""),
     .files_len = 1,
     .files = {{.path = "k", .text = KERNEL}},
     .elf_at = -1,
     .error = "but not com.urunc.unikernel.binary"},
    {.what = "urunc's path with a blank",
     .config = LABELS(U "unikernelType\":\"unikraft\"," U "binary\":\"/a b\""),
     .files_len = 1,
     .files = {{.path = "k", .text = KERNEL}},
     .elf_at = -1,
     .error = "com.urunc.unikernel.binary may have letters, digits and . _ / - only"},
    {.what = "urunc's root file system to be mounted",
     .config =
         LABELS(U "unikernelType\":\"linux\"," U "binary\":\"/k\"," U "mountRootfs\":\"true\""),
     .files_len = 1,
     .files = {{.path = "k", .text = KERNEL}},
     .elf_at = -1,
     .error = "wants its root file system mounted (mountRootfs): pack it as an initrd"},
    {.what = "urunc's Linux with a block image",
     .config = LABELS(U "unikernelType\":\"linux\"," U "binary\":\"/k\"," U "block\":\"/d.img\""),
     .files_len = 2,
     .files = {{.path = "k", .text = KERNEL}, {.path = "d.img", .text = "disk"}},
     .elf_at = -1,
     .kind = "linux",
     .kernel = KERNEL,
     .disk = "disk"},
    {.what = "Hermit as urunc packs it",
     .config =
         LABELS(U "unikernelType\":\"hermit\"," U "binary\":\"/loader\"," U "initrd\":\"/app\""),
     .files_len = 2,
     .files = {{.path = "loader", .text = KERNEL}, {.path = "app", .text = INITRD}},
     .elf_at = -1,
     .kind = "hermit",
     .kernel = KERNEL,
     .initrd = INITRD},
    {.what = "solo5 by its note",
     .config = CONFIG_LINUX,
     .spec = {"org.unikraft.kernel.image", "/app.virtio", NULL},
     .files_len = 1,
     .files = {{.path = "app.virtio"}},
     .elf = {.solo5_target = SOLO5_VIRTIO, .devices = "n:service b:storage", .pvh = true},
     .kind = "solo5"},
    {.what = "solo5 for hvt",
     .config = LABELS(U "unikernelType\":\"mirage\"," U "hypervisor\":\"hvt\"," U
                        "binary\":\"/app.hvt\""),
     .files_len = 1,
     .files = {{.path = "app.hvt"}},
     .elf = {.solo5_target = SOLO5_HVT, .devices = "n:service"},
     .error = "is built for solo5-hvt, a tender that this node does not have"},
    {.what = "solo5 for muen",
     .config = CONFIG_LINUX,
     .files_len = 1,
     .files = {{.path = "unikraft/bin/kernel"}},
     .elf = {.solo5_target = SOLO5_MUEN},
     .error = "is built for solo5's target muen"},
    {.what = "Unikraft's build for Firecracker, packed as linux",
     .config = CONFIG_LINUX,
     .files_len = 1,
     .files = {{.path = "unikraft/bin/kernel"}},
     .elf = {.pvh = false},
     .error = "a 64-bit ELF with neither a PVH note nor a multiboot header"},
    {.what = "an ELF with a PVH note",
     .config = CONFIG_LINUX,
     .files_len = 1,
     .files = {{.path = "unikraft/bin/kernel"}},
     .elf = {.pvh = true},
     .kind = "unikraft"},
    {.what = "our labels: a Nanos kernel and its disk",
     .config = LABELS("\"dev.unikubelet.guest\":\"nanos\",\"dev.unikubelet.kernel\":\"/k.img\","
                      "\"dev.unikubelet.disk\":\"/d.raw\""),
     .files_len = 2,
     .files = {{.path = "k.img", .text = KERNEL}, {.path = "d.raw", .text = "tfs"}},
     .elf_at = -1,
     .kind = "nanos",
     .kernel = KERNEL,
     .disk = "tfs"},
    {.what = "the old media type, a tar",
     .config = CONFIG_QEMU,
     .spec = {NULL, NULL, "application/vnd.unikraft.image.v1+gzip"},
     .files_len = 1,
     .files = {{.path = "unikraft/bin/kernel", .text = KERNEL}},
     .elf_at = -1,
     .kind = "unikraft",
     .kernel = KERNEL},
    {.what = "debug symbols are no kernel",
     .config = CONFIG_QEMU,
     .spec = {NULL, NULL, "application/vnd.unikraft.kernel.dbg.v1"},
     .files_len = 1,
     .files = {{.path = "unikraft/bin/kernel", .text = KERNEL}},
     .elf_at = -1,
     .error = "has no unikernel kernel"},
    {.what = "only a ROM, which is no tar",
     .config = CONFIG_QEMU,
     .spec = {NULL, NULL, "application/vnd.unikraft.rom.v1"},
     .raw = "erofs",
     .elf_at = -1,
     .error = "has no unikernel kernel, only a root file system: pack it with a kernel, or let the "
              "node's operator set platformKernel"},
};

static void run_case(struct world *w, const struct kind_case *c)
{
    struct buf elf = BUF_INIT(1);
    struct buf layer = BUF_INIT(1 << 16);
    struct fake_file files[3];
    struct pushed p;

    memcpy(files, c->files, sizeof(files));
    if (c->elf_at >= 0) {
        elf_make(&elf, &c->elf);
        files[c->elf_at].text = elf.data;
        files[c->elf_at].len = elf.len;
    }
    if (c->raw)
        buf_adds(&layer, c->raw);
    else
        fake_tar(&layer, files, c->files_len, FAKE_GZIP);
    push_manifest(w, REG, "v1", c->config, &layer, &c->spec, 1, &p);
    pull(w, "reg.io/app:v1", IMAGE_ALWAYS);
    buf_free(&layer);
    buf_free(&elf);
}

static void kind_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct kind_case *c = &cases[i];
        const struct image *image;
        struct world w;

        world_open(&w);
        run_case(&w, c);
        image = w.last.image;
        if (c->error ? image || !strstr(w.error, c->error) : !image)
            fail_msg("%s: %s: %s", c->what, w.reason, w.error);
        if (image) {
            if (!str_eq(image->guest_kind, c->kind))
                fail_msg("%s: %s", c->what, image->guest_kind);
            if (c->kernel)
                want_file(image->kernel, c->kernel);
            assert_int_equal(image->initrd != NULL, c->initrd != NULL);
            if (c->initrd)
                want_file(image->initrd, c->initrd);
            assert_int_equal(image->disk != NULL, c->disk != NULL);
            if (c->disk)
                want_file(image->disk, c->disk);
        }
        world_close(&w);
    }
}

static const struct kind_case *find(const char *what)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (str_eq(cases[i].what, what))
            return &cases[i];
    fail_msg("no case %s", what);
    return NULL;
}

/* The manifest's devices are remembered, also by the next agent. */
static void devices(void **state)
{
    struct image *image;
    struct world w;

    (void)state;
    world_open(&w);
    run_case(&w, find("solo5 by its note"));
    image_unref(w.last.image);
    w.last.image = NULL;
    image_store_close(w.store);
    world_open_store(&w);
    pull(&w, "reg.io/app:v1", IMAGE_NEVER);
    image = w.last.image;
    assert_non_null(image);
    assert_string_equal(image->solo5_target, "virtio");
    assert_int_equal(image->devices_len, 2);
    assert_string_equal(image->devices[0].name, "service");
    assert_true(image->devices[0].is_net);
    assert_string_equal(image->devices[1].name, "storage");
    assert_false(image->devices[1].is_net);
    world_close(&w);
}

/* A kernel-less image runs with the platform's kernel, where the operator gives one. */
static void platform_kernel(void **state)
{
    CLEANUP(free) char *path = NULL;
    struct world w;

    (void)state;
    world_open(&w);
    path = xasprintf("%s/platform", w.dir);
    assert_int_equal(file_write_atomic(path, KERNEL, strlen(KERNEL), 0644), 0);
    image_store_close(w.store);
    w.config.platform_kernel = path;
    world_open_store(&w);
    run_case(&w, find("only a ROM, which is no tar"));
    if (!w.last.image)
        fail_msg("%s", w.error);
    assert_string_equal(w.last.image->kernel, path);
    want_file(w.last.image->disk, "erofs");
    assert_true(w.last.image->disk_readonly);
    world_close(&w);
}

static void broken_manifests(void **state)
{
    static const struct elf_case one = {.solo5_target = SOLO5_VIRTIO, .devices = "n:service"};
    struct kernel_facts facts;
    struct buf elf;

    (void)state;
    elf_make(&elf, &one);
    kernel_read(elf.data, elf.len, &facts);
    assert_int_equal(facts.solo5, SOLO5_VIRTIO);
    assert_int_equal(facts.devices_len, 1);
    assert_false(facts.bad_manifest);
    /* Each length of the same file: never more than what is there. */
    for (size_t len = 0; len < elf.len; len++) {
        char *cut = xmalloc(len + 1);

        memcpy(cut, elf.data, len);
        kernel_read(cut, len, &facts);
        assert_int_equal(facts.devices_len, 0);
        free(cut);
    }
    buf_free(&elf);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(kind_table),
        cmocka_unit_test(devices),
        cmocka_unit_test(platform_kernel),
        cmocka_unit_test(broken_manifests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
