/* Scope-bound release of resources: CLEANUP(free) char *p = NULL; and TAKE() to hand one over.
 * Every cleanup function accepts the "nothing" value (NULL, -1) of its type. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void cleanup_closedir(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}

static inline void cleanup_fclose(FILE **file)
{
    if (*file)
        (void)fclose(*file);
}

#define CLEANUP(how) __attribute__((cleanup(cleanup_##how)))

/* Hands a pointer over: evaluates to it and leaves NULL behind. */
#define TAKE(p)                   \
    __extension__({               \
        __typeof__(p) taken_ = p; \
        (p) = NULL;               \
        taken_;                   \
    })

/* The same for a file descriptor, leaving -1 behind. */
#define TAKE_FD(fd)      \
    __extension__({      \
        int taken_ = fd; \
        (fd) = -1;       \
        taken_;          \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
