/* The smallest guest: a PVH kernel made byte by byte, which prints a text on the serial port,
 * writes a code to isa-debug-exit, or stops for ever. For tests of the machinery around real
 * machines, where no guest image is built. */
#pragma once

#include "base/buf.h"
#include "base/file.h"

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TINY_BASE 0x100000 /* where it is loaded */
#define TINY_STAYS (-1)    /* halt with interrupts off instead of ending */
/* A breakpoint without anyone to take it: a triple fault, and on hosts whose KVM emulates
 * instructions one that it does not know. */
#define TINY_TRAPS (-2)

struct tiny_head {
    Elf32_Ehdr elf;
    Elf32_Phdr load;
    Elf32_Phdr note;
    Elf32_Nhdr note_head;
    char note_name[4];
    uint32_t note_entry;
};

/* to: the port that the code is written to. */
static inline int tiny_guest_write_to(const char *path, const char *text, int code, uint16_t to)
{
    static const uint8_t serial[] = {0x66, 0xba, 0xf8, 0x03};             /* mov $0x3f8,%dx */
    const uint8_t port[] = {0x66, 0xba, (uint8_t)to, (uint8_t)(to >> 8)}; /* mov $to,%dx */
    static const uint8_t trap[] = {0xcc};
    static const uint8_t stop[] = {0xfa, 0xf4, 0xeb, 0xfc};           /* cli; hlt; jmp to it */
    const uint8_t end[] = {0x66, 0xb8, (uint8_t)code, 0, 0x66, 0xef}; /* mov,%ax; out %ax,%dx */
    struct buf image = BUF_INIT(65536);
    struct tiny_head head = {
        .elf = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB,
                            EV_CURRENT},
                .e_type = ET_EXEC,
                .e_machine = EM_386,
                .e_version = EV_CURRENT,
                .e_entry = TINY_BASE + sizeof(head),
                .e_phoff = offsetof(struct tiny_head, load),
                .e_ehsize = sizeof(Elf32_Ehdr),
                .e_phentsize = sizeof(Elf32_Phdr),
                .e_phnum = 2},
        .note = {.p_type = PT_NOTE,
                 .p_offset = offsetof(struct tiny_head, note_head),
                 .p_vaddr = TINY_BASE + offsetof(struct tiny_head, note_head),
                 .p_paddr = TINY_BASE + offsetof(struct tiny_head, note_head),
                 .p_filesz = 20,
                 .p_memsz = 20,
                 .p_flags = PF_R,
                 .p_align = 4},
        .note_head = {.n_namesz = 4, .n_descsz = 4, .n_type = 18}, /* XEN_ELFNOTE_PHYS32_ENTRY */
        .note_name = "Xen",
        .note_entry = TINY_BASE + sizeof(head),
    };
    int r;

    (void)buf_add(&image, &head, sizeof(head));
    (void)buf_add(&image, serial, sizeof(serial));
    for (; *text; text++) {
        const uint8_t print[] = {0xb0, (uint8_t)*text, 0xee}; /* mov,%al; out %al,%dx */

        (void)buf_add(&image, print, sizeof(print));
    }
    if (code == TINY_TRAPS)
        (void)buf_add(&image, trap, sizeof(trap));
    if (code >= 0) {
        (void)buf_add(&image, port, sizeof(port));
        (void)buf_add(&image, end, sizeof(end));
    }
    (void)buf_add(&image, stop, sizeof(stop));
    head.load = (Elf32_Phdr){.p_type = PT_LOAD,
                             .p_vaddr = TINY_BASE,
                             .p_paddr = TINY_BASE,
                             .p_filesz = (Elf32_Word)image.len,
                             .p_memsz = (Elf32_Word)image.len,
                             .p_flags = PF_R | PF_W | PF_X,
                             .p_align = 4096};
    memcpy(image.data, &head, sizeof(head));
    r = file_write_atomic(path, image.data, image.len, 0644);
    buf_free(&image);
    return r;
}

static inline int tiny_guest_write(const char *path, const char *text, int code)
{
    return tiny_guest_write_to(path, text, code, 0x501);
}
