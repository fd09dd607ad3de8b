/* Serial console on COM1, polled, and a small printf: %s %d %u %x %c %%. */
#include "machine.h"

#include <stdarg.h>
#include <string.h>

#define COM1 0x3f8
#define LINE_STATUS (COM1 + 5)
#define EMPTY 0x20
#define READY 0x01

void console_put(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        while (!(inb(LINE_STATUS) & EMPTY)) {
        }
        outb(COM1, (uint8_t)text[i]);
    }
}

int console_get(void)
{
    return inb(LINE_STATUS) & READY ? inb(COM1) : -1;
}

static void put_number(uint32_t value, unsigned base, bool negative)
{
    char digits[12];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    if (negative)
        digits[--at] = '-';
    console_put(digits + at, sizeof(digits) - at);
}

void print(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            console_put(fmt, 1);
            continue;
        }
        switch (*++fmt) {
        case 's': {
            const char *text = va_arg(args, const char *);
            console_put(text, strlen(text));
            break;
        }
        case 'd': {
            int value = va_arg(args, int);
            put_number(value < 0 ? 0u - (uint32_t)value : (uint32_t)value, 10, value < 0);
            break;
        }
        case 'u':
            put_number(va_arg(args, uint32_t), 10, false);
            break;
        case 'x':
            put_number(va_arg(args, uint32_t), 16, false);
            break;
        default:
            console_put(fmt, 1);
        }
    }
    va_end(args);
}
