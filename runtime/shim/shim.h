/* Inside of unikubelet-shim, the small static parent of one VMM process. It holds what must not die
 * with the agent: the VMM itself, its tap and namespace, its console and its exit status. It
 * decides nothing: the agent says what to start and when to kill. No heap and no stdio streams: one
 * struct on main's stack, so that an idle shim costs a few dirty pages. */
#pragma once

#include "runtime/shim_proto.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONSOLE_LINE_MAX 16384 /* longer lines are split, as container runtimes split them */
#define CONSOLE_READ_MAX 16384 /* bytes taken from a flooding guest before others get a turn */
#define CONSOLE_OUT_MAX 20480  /* one whole line with its head fits */
#define CONSOLE_IDLE_MS 100    /* an unfinished line is written after so much silence: prompts */
#define CONSOLE_DRAIN_MAX 64   /* reads from a dead VMM's pipe: more than the pipe holds */
#define SHIM_CGROUPS_MAX 4     /* v1: memory, cpu, cpuacct, pids */
#define SHIM_NOFILE_MAX 4096   /* descriptors of a VMM */
#define SHIM_FATALS_MAX 8      /* texts that mean the end */
#define SHIM_FATAL_LEN_MAX 128 /* of each; the same of the line kept for the exit record */
#define SHIM_STDERR_READ_MAX (SHIM_STDERR_MAX - SHIM_FATAL_LEN_MAX)
#define CONSOLE_FILES_MAX 64 /* of one log, the one being written included */

/* The command line. Paths belong to argv. */
struct options {
    const char *dir;
    const char *log;                           /* NULL: the console is read and dropped */
    const char *netns;                         /* NULL: stay */
    const char *tap;                           /* name of the tap in there; NULL: none */
    const char *vhost;                         /* path of vhost-net; NULL: none */
    const char *oom_file;                      /* memory.events or memory.oom_control; NULL: none */
    const char *vmm_cgroups[SHIM_CGROUPS_MAX]; /* cgroup.procs files */
    size_t vmm_cgroups_len;
    const char *shim_cgroups[SHIM_CGROUPS_MAX];
    size_t shim_cgroups_len;
    uint32_t uid; /* 0: the VMM stays what the shim is */
    uint32_t gid;
    uint32_t kvm_gid;                    /* supplementary group; 0: none */
    uint32_t log_bytes_max;              /* of a log file before it is renamed; 0: no limit */
    uint32_t log_files_max;              /* 2 to CONSOLE_FILES_MAX */
    const char *fatals[SHIM_FATALS_MAX]; /* on the VMM's standard error: the machine is over */
    size_t fatals_len;
    char **vmm_argv;
};

struct failure {
    int code; /* negative errno */
    char text[SHIM_TEXT_MAX];
};

/* Fills the text with ": <errno's name>" behind it; returns code. */
int failure_set(struct failure *failure, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* console.c: the guest's console as CRI log lines, in files of bounded size and number. */
struct console {
    const char *path;
    uint64_t size;      /* of the file */
    uint64_t bytes_max; /* 0: no limit */
    size_t files_max;
    int64_t
        renamed[CONSOLE_FILES_MAX + 1]; /* unix seconds in the names of older files, oldest first */
    size_t renamed_len;
    int fd;           /* -1: dropped */
    uint64_t dropped; /* bytes that did not reach the file since the last good write */
    int drop_code;    /* why, negative errno */
    bool continued;   /* a part of the current line was written with P */
    size_t line_len;
    size_t out_len;
    size_t tail_len;
    size_t stamp_len;
    char stamp[64]; /* "<time> stdout ", of the last read */
    char tail[SHIM_TAIL_MAX];
    char line[CONSOLE_LINE_MAX];
    char in[CONSOLE_READ_MAX];
    char out[CONSOLE_OUT_MAX];
};

/* Opens (again) console->path. Returns 0 or negative errno; then text is dropped, never the guest.
 */
int console_open(struct console *console);
/* Takes the first len bytes of console->in, read at that unix time. */
void console_feed(struct console *console, size_t len, int64_t now_ns);
/* Whether a silence should end in console_silence. */
bool console_waits(const struct console *console);
void console_silence(struct console *console, int64_t now_ns);
/* Writes what is left as a last line. */
void console_finish(struct console *console, int64_t now_ns);

/* vmmlog.c: the VMM's standard error, kept small: its beginning and its latest part. */
struct vmmlog {
    int fd; /* -1: not needed yet */
    size_t size;
    size_t tail_len;
    char tail[SHIM_STDERR_MAX];
};

void vmmlog_add(struct vmmlog *log, const char *data, size_t len);
/* From one of the texts to the end of its line, in the last bytes; 0: none is there. Complete when
 * asked after each SHIM_STDERR_READ_MAX bytes. */
size_t vmmlog_find(const struct vmmlog *log, const char *const *texts, size_t texts_len,
                   const char **ret_line);
/* Keeps the last max bytes of what was ever added. */
void tail_add(char *tail, size_t *tail_len, size_t max, const char *data, size_t len);

/* start.c: from options to an executing VMM. */
struct machine {
    pid_t pid;       /* 0: none, or reaped */
    int tap;         /* -1: none. Never read while a VMM lives */
    int console_in;  /* write end of the VMM's standard input */
    int console_out; /* read ends */
    int err_out;
    int wait_status;
    int64_t started_ns;
    int64_t finished_ns;
    bool oom;
    size_t fatal_len;                   /* 0: the VMM ended by itself or was asked to */
    char fatal[SHIM_FATAL_LEN_MAX + 1]; /* the line for which the VMM was ended */
};

int machine_start(struct machine *machine, const struct options *options, struct failure *failure);
bool machine_oom(const struct options *options);

/* record.c: the exit record, in the current directory. failure NULL: the machine had started. */
int record_write(const struct machine *machine, const struct failure *failure,
                 const struct console *console, const struct vmmlog *log);

struct shim {
    struct options options;
    struct machine machine;
    struct vmmlog vmmlog;
    int epoll;
    int signals;
    int listener;
    int agents[SHIM_AGENTS_MAX]; /* -1: free */
    bool input_cut;              /* an agent waits for SHIM_INPUT_READY */
    bool input_armed;            /* the epoll set waits for room in the VMM's standard input */
    size_t input_len;
    int64_t silence_ms; /* monotonic time of console_silence; 0: none */
    char input[SHIM_INPUT_MAX];
    struct console console;
};

/* What an epoll event is about; agents are EV_AGENT + index. */
enum event_tag { EV_SIGNAL, EV_LISTEN, EV_CONSOLE, EV_STDERR, EV_STDIN, EV_AGENT };

int64_t unix_now_ns(void);
int shim_watch(struct shim *shim, int fd, uint32_t events, uint32_t tag);

/* agents.c */
void agents_accept(struct shim *shim);
/* Reads the commands of one agent; closes the connection at its end. */
void agents_read(struct shim *shim, size_t index);
/* text NULL: none. */
void agents_tell(struct shim *shim, enum shim_type type, int value, const char *text);
/* The end, with what an agent must know where the record could not be written. */
void agents_tell_end(struct shim *shim);
/* Writes what the guest's console has room for. */
void agents_input_drain(struct shim *shim);
