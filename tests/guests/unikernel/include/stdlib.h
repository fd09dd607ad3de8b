/* The few conversions that the test guest uses; its own, as it has no C library. */
#pragma once
#include <stddef.h>
int atoi(const char *text);
