/* lwIP's view of this machine. */
#pragma once
#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_CTYPE_H 1
#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_LIMITS_H 1
#define INT_MAX 0x7fffffff
#define LWIP_TIMEVAL_PRIVATE 0
#define X8_F "x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "u"
#define BYTE_ORDER LITTLE_ENDIAN
#define LWIP_PLATFORM_DIAG(x)
void machine_crash(const char *why) __attribute__((noreturn));
#define LWIP_PLATFORM_ASSERT(x) machine_crash(x)
#define LWIP_RAND() machine_ms()
unsigned int machine_ms(void);
#define SSIZE_MAX 0x7fffffff
typedef int ssize_t;
