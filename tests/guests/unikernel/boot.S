/* Entry by the PVH boot protocol: 32-bit protected mode, flat segments, paging off, interrupts off.
 * Sets a stack and segments of our own, then calls C. Also the interrupt entries. */
    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, 18                /* name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start

    .section .text.start, "ax", @progbits
    .code32
    .globl start
start:
    cld
    movl $stack_top, %esp
    movl %ebx, %esi               /* hvm_start_info */
    xorl %eax, %eax
    movl $bss_start, %edi
    movl $bss_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    rep stosl
    lgdt gdt_pointer
    ljmp $8, $1f
1:  movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    pushl %esi
    call kernel_main
2:  cli
    hlt
    jmp 2b

    .globl interrupt_timer, interrupt_net, interrupt_other, interrupt_fault
interrupt_timer:
    pushal
    cld
    call on_timer_interrupt
    popal
    iret
interrupt_net:
    pushal
    cld
    call on_net_interrupt
    popal
    iret
interrupt_other:
    pushal
    cld
    call on_other_interrupt
    popal
    iret
interrupt_fault:
    cld
    call on_fault

    .section .rodata
    .align 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff      /* 8: code, flat */
    .quad 0x00cf92000000ffff      /* 16: data, flat */
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .section .bss
    .align 16
    .skip 32768
stack_top:

    .section .note.GNU-stack, "", @progbits
