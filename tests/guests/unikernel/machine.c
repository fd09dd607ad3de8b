/* Interrupt controller, timer and ends of the machine. Idle is hlt with interrupts on, and the
 * timer runs only while somebody waits for it: an idle guest costs its host nothing. */
#include "machine.h"

#define PIC1 0x20
#define PIC2 0xa0
#define PIT_COUNTER 0x40
#define PIT_COMMAND 0x43
#define PIT_HZ 1193182u
#define PIT_MS_MAX 50u /* 16-bit counter */
#define VECTOR_BASE 32
#define DEBUG_EXIT 0x501
#define ACPI_PM1A 0x604
#define ENDED 41
#define CRASHED 42
#define CALIBRATE_MS 10u

extern void interrupt_timer(void);
extern void interrupt_net(void);
extern void interrupt_other(void);
extern void interrupt_fault(void);
void on_timer_interrupt(void);
void on_net_interrupt(void);
void on_other_interrupt(void);
void on_fault(void);

struct gate {
    uint16_t low, selector, flags, high;
} __attribute__((packed));

static struct gate idt[256];
static uint32_t ticks_per_ms;
static uint64_t tsc_start;
static unsigned net_irq;
static volatile bool woken;

static uint64_t tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return ((uint64_t)high << 32) | low;
}

static void set_gate(unsigned vector, void (*entry)(void))
{
    uintptr_t at = (uintptr_t)entry;
    idt[vector] = (struct gate){(uint16_t)at, 8, 0x8e00, (uint16_t)(at >> 16)};
}

static void end_of_interrupt(unsigned irq)
{
    if (irq >= 8)
        outb(PIC2, 0x20);
    outb(PIC1, 0x20);
}

void on_timer_interrupt(void)
{
    woken = true;
    end_of_interrupt(0);
}

void on_other_interrupt(void)
{
    end_of_interrupt(15);
}

void on_fault(void)
{
    machine_crash("processor exception");
}

static void pit_once(uint32_t ms)
{
    uint32_t count = PIT_HZ / 1000 * ms;
    outb(PIT_COMMAND, 0x30); /* channel 0, both bytes, mode 0: one shot */
    outb(PIT_COUNTER, (uint8_t)count);
    outb(PIT_COUNTER, (uint8_t)(count >> 8));
}

static void wait_flag(volatile bool *flag)
{
    __asm__ volatile("cli");
    while (!*flag)
        __asm__ volatile("sti; hlt; cli");
    __asm__ volatile("sti");
}

void machine_init(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint32_t)(uintptr_t)idt};
    for (unsigned i = 0; i < 256; i++)
        set_gate(i, i < 32 ? interrupt_fault : interrupt_other);
    set_gate(VECTOR_BASE, interrupt_timer);
    __asm__ volatile("lidt %0" : : "m"(pointer));
    outb(PIC1, 0x11);
    outb(PIC2, 0x11);
    outb(PIC1 + 1, VECTOR_BASE);
    outb(PIC2 + 1, VECTOR_BASE + 8);
    outb(PIC1 + 1, 4);
    outb(PIC2 + 1, 2);
    outb(PIC1 + 1, 1);
    outb(PIC2 + 1, 1);
    outb(PIC1 + 1, 0xfa); /* timer and cascade */
    outb(PIC2 + 1, 0xff);
    uint64_t before = tsc();
    tsc_start = before;
    woken = false;
    pit_once(CALIBRATE_MS);
    wait_flag(&woken);
    ticks_per_ms = (uint32_t)(tsc() - before) / CALIBRATE_MS;
    if (!ticks_per_ms)
        ticks_per_ms = 1;
}

void machine_enable_irq(unsigned irq)
{
    net_irq = irq;
    set_gate(VECTOR_BASE + irq, interrupt_net);
    if (irq >= 8)
        outb(PIC2 + 1, (uint8_t) ~(1u << (irq - 8)));
    else
        outb(PIC1 + 1, (uint8_t)(0xfa & ~(1u << irq)));
}

void on_net_interrupt(void)
{
    net_pending = true;
    woken = true;
    end_of_interrupt(net_irq);
}

void machine_wait(uint32_t ms_max)
{
    __asm__ volatile("cli");
    if (net_pending) {
        __asm__ volatile("sti");
        return;
    }
    woken = false;
    if (ms_max)
        pit_once(ms_max < PIT_MS_MAX ? ms_max : PIT_MS_MAX);
    wait_flag(&woken);
}

/* 64 by 32 bits without libgcc, in two steps. */
static uint64_t divide(uint64_t value, uint32_t by)
{
    uint32_t high = (uint32_t)(value >> 32), low = (uint32_t)value;
    uint32_t quotient_high = high / by, rest = high % by, quotient_low;
    __asm__("divl %3" : "=a"(quotient_low), "+d"(rest) : "a"(low), "r"(by));
    return ((uint64_t)quotient_high << 32) | quotient_low;
}

uint32_t machine_ms(void)
{
    return (uint32_t)divide(tsc() - tsc_start, ticks_per_ms);
}

static void stop(uint8_t how)
{
    outw(DEBUG_EXIT, how);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void machine_exit(int code)
{
    print("main returned %d\n", code);
    outw(ACPI_PM1A, 0x2000);
    stop(ENDED);
    __builtin_unreachable();
}

void machine_crash(const char *why)
{
    print("CRIT: crashed: %s\n", why);
    stop(CRASHED);
    __builtin_unreachable();
}
