/* Kernels as their makers' linkers write them, as far as a loader looks: an ELF64 header, one
 * program header, and the notes that a case asks for. */
#pragma once

#include "base/buf.h"

#include <elf.h>
#include <stdint.h>
#include <string.h>

struct elf_case {
    uint32_t solo5_target; /* 0: no solo5 note */
    const char *devices;   /* "n:service b:storage", in a manifest; NULL: no manifest */
    bool pvh;
};

static inline void elf_note(struct buf *notes, const char *name, uint32_t type, const void *desc,
                            size_t len)
{
    static const char zeros[4] = "";
    uint32_t head[3] = {(uint32_t)strlen(name) + 1, (uint32_t)len, type};

    buf_add(notes, head, sizeof(head));
    buf_add(notes, name, head[0]);
    buf_add(notes, zeros, (4 - head[0] % 4) % 4);
    buf_add(notes, desc, len);
    buf_add(notes, zeros, (4 - len % 4) % 4);
}

/* struct mft1_note of Solo5's mft_abi.h: 4 bytes of padding, version, entries; entries of 104
 * bytes, the first one reserved. */
static inline void elf_manifest(struct buf *notes, const char *devices)
{
    unsigned char mft[4 + 8 + 104 * 8] = {0};
    uint32_t reserved = 1u << 30;
    uint32_t entries = 1;
    uint32_t version = 1;

    memcpy(mft + 12 + 68, &reserved, 4);
    for (const char *p = devices; *p;) {
        size_t len = strcspn(p, " ");
        unsigned char *entry = mft + 12 + 104 * entries++;
        uint32_t type = p[0] == 'n' ? 2 : 1;

        memcpy(entry, p + 2, len - 2);
        memcpy(entry + 68, &type, 4);
        p += len + (p[len] == ' ');
    }
    memcpy(mft + 4, &version, 4);
    memcpy(mft + 8, &entries, 4);
    elf_note(notes, "Solo5", 0x3154464d, mft, 12 + 104 * entries);
}

static inline void elf_make(struct buf *out, const struct elf_case *c)
{
    struct buf notes = BUF_INIT(1 << 16);
    uint32_t abi[4] = {c->solo5_target, 1, 0, 0};
    uint64_t entry = 0x100000;
    Elf64_Ehdr header = {.e_type = ET_EXEC,
                         .e_machine = EM_X86_64,
                         .e_phoff = sizeof(header),
                         .e_phnum = 1,
                         .e_phentsize = sizeof(Elf64_Phdr)};
    Elf64_Phdr segment = {.p_type = PT_NOTE, .p_offset = sizeof(header) + sizeof(Elf64_Phdr)};

    memcpy(header.e_ident,
           "\x7f"
           "ELF\x02\x01\x01",
           7);
    if (c->solo5_target)
        elf_note(&notes, "Solo5", 0x31494241, abi, sizeof(abi));
    if (c->devices)
        elf_manifest(&notes, c->devices);
    if (c->pvh)
        elf_note(&notes, "Xen", 18, &entry, sizeof(entry));
    segment.p_filesz = notes.len;
    buf_init(out, 1 << 17);
    buf_add(out, &header, sizeof(header));
    buf_add(out, &segment, sizeof(segment));
    buf_add(out, buf_str(&notes), notes.len);
    buf_free(&notes);
}
