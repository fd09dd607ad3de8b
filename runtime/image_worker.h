/* Unpacking in a process of its own, that can do nothing else: a stranger's archive is read where a
 * fault in a decoder reaches one empty directory. The agent's end runs in a worker thread and
 * blocks; the other end is this program again, called with IMAGE_WORKER_COMMAND. */
#pragma once

#include "runtime/image.h"
#include "runtime/image_unpack.h"

struct err;

/* unpack_run in a process of program's; in this one when program is NULL. A cancel of the unpack
 * kills it. */
int image_worker_run(const char *program, struct unpack *unpack, struct err *err);
/* The process: the exit status for main. Descriptors: 0 the request, 1 the answer, 3 the directory,
 * from 4 on the layers. */
int image_worker_main(void);

/* image_worker_text.c: what the two say to each other, as JSON. Whatever the worker answers is
 * checked: it may have been taken over. */
#define WORKER_TEXT_MAX (4u * 1024 * 1024)

struct arena;

void worker_write_request(const struct unpack *unpack, struct buf *out);
int worker_read_request(const char *text, size_t len, struct arena *arena, struct unpack *ret);
void worker_write_answer(const struct unpack *unpack, const struct err *err, struct buf *out);
/* The worker's own result (0 or negative, err filled); -EPROTO when it says nothing sensible. */
int worker_read_answer(const char *text, size_t len, struct unpack *ret, struct err *err);

/* image_confine.c: gives up everything but reading, writing and what lies in the directory, as far
 * as this host and user allow. 0, or -errno when not even system calls can be filtered. */
int image_confine(int dir_fd);
