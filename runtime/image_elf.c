/* Reads kernels: headers and notes only. The file is a stranger's: each offset is checked before
 * it is followed, counts have limits. */
#include "runtime/image_elf.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <ctype.h>
#include <elf.h>
#include <string.h>

#define SEGMENTS_MAX 128
#define NOTES_MAX 64
#define BZIMAGE_MAGIC_AT 0x202 /* "HdrS", Documentation/x86/boot */
#define MULTIBOOT_SEARCH 8192  /* the header must lie in there, 4-byte aligned */
#define MULTIBOOT_MAGIC 0x1badb002u
#define XEN_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */

#define SOLO5_ABI_NOTE 0x31494241u      /* "ABI1" */
#define SOLO5_MANIFEST_NOTE 0x3154464du /* "MFT1" */
#define MFT_VERSION 1u
#define MFT_HEADER 8
#define MFT_ENTRY 104 /* of struct mft_entry on 64-bit machines */
#define MFT_TYPE_AT 68
#define MFT_BLOCK 1u
#define MFT_NET 2u

struct file {
    const unsigned char *data;
    size_t len;
};

static uint32_t le32(const unsigned char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static bool inside(const struct file *file, uint64_t offset, uint64_t len)
{
    return offset <= file->len && len <= file->len - offset;
}

static bool has_multiboot(const struct file *file)
{
    for (size_t at = 0; at + 12 <= file->len && at + 12 <= MULTIBOOT_SEARCH; at += 4)
        if (le32(file->data + at) == MULTIBOOT_MAGIC &&
            le32(file->data + at) + le32(file->data + at + 4) + le32(file->data + at + 8) == 0)
            return true;
    return false;
}

static bool take_device(const unsigned char *entry, struct elf_device *ret)
{
    uint32_t type = le32(entry + MFT_TYPE_AT);
    size_t len = strnlen((const char *)entry, ELF_DEVICE_NAME_MAX);

    if (len == 0 || len == ELF_DEVICE_NAME_MAX || (type != MFT_BLOCK && type != MFT_NET))
        return false;
    memcpy(ret->name, entry, len + 1);
    ret->is_net = type == MFT_NET;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)ret->name[i]))
            return false;
    return true;
}

/* struct mft is aligned to 8 behind a note header of 20 bytes: 4 bytes before it are padding. The
 * first entry of a manifest is a reserved one without a name. */
static void take_manifest(const unsigned char *desc, size_t len, struct kernel_facts *ret)
{
    const unsigned char *mft = desc;
    uint32_t entries;

    ret->bad_manifest = true;
    if (len >= MFT_HEADER + 4 && (len - 4 - MFT_HEADER) % MFT_ENTRY == 0) {
        mft += 4;
        len -= 4;
    }
    if (len < MFT_HEADER || le32(mft) != MFT_VERSION)
        return;
    entries = le32(mft + 4);
    if (entries > ELF_DEVICES_MAX || (size_t)entries * MFT_ENTRY > len - MFT_HEADER)
        return;
    ret->devices_len = 0;
    for (uint32_t i = 0; i < entries; i++) {
        const unsigned char *entry = mft + MFT_HEADER + (size_t)i * MFT_ENTRY;

        if (i == 0 && entry[0] == '\0' && le32(entry + MFT_TYPE_AT) >= 1u << 30)
            continue;
        if (!take_device(entry, &ret->devices[ret->devices_len++])) {
            ret->devices_len = 0;
            return;
        }
    }
    ret->bad_manifest = false;
}

static void take_note(uint32_t type, const char *name, size_t name_len, const unsigned char *desc,
                      size_t len, struct kernel_facts *ret)
{
    if (name_len == 4 && memcmp(name, "Xen", 4) == 0 && type == XEN_PHYS32_ENTRY)
        ret->has_pvh = true;
    if (name_len != 6 || memcmp(name, "Solo5", 6) != 0)
        return;
    if (type == SOLO5_ABI_NOTE && len >= 4 && le32(desc) <= SOLO5_XEN)
        ret->solo5 = (enum solo5_target)le32(desc);
    else if (type == SOLO5_MANIFEST_NOTE)
        take_manifest(desc, len, ret);
}

static void read_notes(const struct file *file, uint64_t offset, uint64_t size,
                       struct kernel_facts *ret)
{
    const unsigned char *at = file->data + offset;
    uint64_t left = size;

    for (int i = 0; i < NOTES_MAX && left >= 12; i++) {
        uint64_t name_len = le32(at);
        uint64_t desc_len = le32(at + 4);
        uint64_t name_room = (name_len + 3) & ~3ull;
        uint64_t desc_room = (desc_len + 3) & ~3ull;

        if (name_room > left - 12 || desc_len > left - 12 - name_room)
            return;
        take_note(le32(at + 8), (const char *)at + 12, (size_t)name_len, at + 12 + name_room,
                  (size_t)desc_len, ret);
        if (desc_room > left - 12 - name_room)
            return;
        at += 12 + name_room + desc_room;
        left -= 12 + name_room + desc_room;
    }
}

static void read_64(const struct file *file, struct kernel_facts *ret)
{
    Elf64_Ehdr header;

    memcpy(&header, file->data, sizeof(header));
    ret->is_elf = header.e_machine == EM_X86_64 || header.e_machine == EM_AARCH64;
    ret->is_64 = true;
    for (size_t i = 0; i < header.e_phnum && i < SEGMENTS_MAX; i++) {
        Elf64_Phdr segment;
        uint64_t at;

        if (__builtin_add_overflow(header.e_phoff, i * sizeof(segment), &at) ||
            !inside(file, at, sizeof(segment)))
            return;
        memcpy(&segment, file->data + at, sizeof(segment));
        if (segment.p_type == PT_NOTE && inside(file, segment.p_offset, segment.p_filesz))
            read_notes(file, segment.p_offset, segment.p_filesz, ret);
    }
}

static void read_32(const struct file *file, struct kernel_facts *ret)
{
    Elf32_Ehdr header;

    memcpy(&header, file->data, sizeof(header));
    ret->is_elf = header.e_machine == EM_386 || header.e_machine == EM_X86_64;
    for (size_t i = 0; i < header.e_phnum && i < SEGMENTS_MAX; i++) {
        Elf32_Phdr segment;

        if (!inside(file, header.e_phoff + i * sizeof(segment), sizeof(segment)))
            return;
        memcpy(&segment, file->data + header.e_phoff + i * sizeof(segment), sizeof(segment));
        if (segment.p_type == PT_NOTE && inside(file, segment.p_offset, segment.p_filesz))
            read_notes(file, segment.p_offset, segment.p_filesz, ret);
    }
}

void kernel_read(const void *data, size_t len, struct kernel_facts *ret)
{
    const struct file file = {data, len};

    memset(ret, 0, sizeof(*ret));
    if (inside(&file, BZIMAGE_MAGIC_AT, 4))
        ret->is_bzimage = memcmp(file.data + BZIMAGE_MAGIC_AT, "HdrS", 4) == 0;
    ret->multiboot = has_multiboot(&file);
    if (len < SELFMAG || memcmp(file.data, ELFMAG, SELFMAG) != 0)
        return;
    if (len >= sizeof(Elf64_Ehdr) && file.data[EI_CLASS] == ELFCLASS64)
        read_64(&file, ret);
    else if (len >= sizeof(Elf32_Ehdr) && file.data[EI_CLASS] == ELFCLASS32)
        read_32(&file, ret);
}

const char *solo5_target_name(enum solo5_target target)
{
    static const char *const names[] = {"none", "hvt", "spt", "virtio", "muen", "genode", "xen"};

    return (size_t)target < ARRAY_LEN(names) ? names[target] : "unknown";
}
