/* The machine under the test unikernel: ports, interrupts, time, console, ends. Nothing here is
 * used by unikubelet itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/* console.c */
void console_put(const char *text, size_t len);
int console_get(void); /* -1: nobody typed */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* machine.c */
void machine_init(void);
void machine_enable_irq(unsigned irq); /* the one network interrupt */
/* Sleeps until an interrupt; at most ms_max, 0: without a limit. */
void machine_wait(uint32_t ms_max);
uint32_t machine_ms(void);
/* Unikraft's way: "main returned N" on the console, then 41 to isa-debug-exit. */
void machine_exit(int code) __attribute__((noreturn));
/* 42: crashed. */
void machine_crash(const char *why) __attribute__((noreturn));

/* net.c */
int net_init(uint32_t base, unsigned irq);
extern volatile bool net_pending; /* an interrupt came since the last net_poll */
bool net_poll(void);              /* true when a packet was taken */
int net_send(const void *head, size_t len);
void net_mac(uint8_t mac[6]);

/* heap, in lib.c */
void heap_init(uintptr_t start, uintptr_t end);
void *heap_take(size_t size); /* NULL when there is no more; nothing is given back */
