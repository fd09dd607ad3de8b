/* What the files of prepare share. Nobody else includes this. prepare.c: one start, from question
 * to answer; prepare_objects.c: ConfigMaps and Secrets; prepare_files.c: what is in a volume;
 * prepare_volumes.c: how volumes reach the guest; prepare_token.c: ServiceAccount tokens;
 * prepare_claim.c: PersistentVolumeClaims. */
#pragma once

#include "provider/prepare.h"
#include "runtime/volumes.h"

struct arena;
struct kube_request;
struct object_hold;
struct uv_timer_s;
struct volumes_work;

#define NEEDS_MAX 256 /* objects of one Pod: its text is 1.5 MiB at most, people name a handful */
#define TOKENS_MAX 16 /* ServiceAccount tokens of one Pod */
#define CLAIMS_MAX 32

/* A token of one source of one volume. */
struct token {
    char *volume; /* its name */
    size_t source;
    char *text;                    /* NULL: none yet */
    int64_t expires_ms, issued_ms; /* unix */
    struct kube_request *request;  /* under way */
    char *audience;
    int64_t expiration_s;
    char error[OBSERVED_TEXT_MAX]; /* "": none */
    struct needs *needs;
};

enum claim_state { CLAIM_ASKED, CLAIM_FOUND, CLAIM_FAILED };

struct claim {
    char *name;
    enum claim_state state;
    char *uid, *volume; /* of the claim, once it is bound */
    char *path;         /* on this host */
    char error[OBSERVED_TEXT_MAX];
    struct kube_request *request;
    struct needs *needs;
};

/* Of one Pod, in machine->needs; made at its first start. */
struct needs {
    struct machine *machine;
    char *ns, *name, *account;
    struct object_hold **holds;
    size_t len;
    bool too_many;
    bool automatic; /* the automatic volume is delivered too */
    bool waiting;   /* reconcile waits for an answer about container */
    uint32_t container;

    struct volumes_work *work; /* under way in a worker */
    bool again;                /* something changed meanwhile */
    bool clean_waits;          /* the Pod is to be cleaned when the work is done */
    char *initrd;              /* the Pod's own, NULL: the image's will do */
    struct share *shares;
    size_t shares_len;

    struct token *tokens[TOKENS_MAX];
    size_t tokens_len;
    struct uv_timer_s *timer; /* of the tokens; NULL: not needed yet */
    struct claim *claims[CLAIMS_MAX];
    size_t claims_len;
};

struct answer {
    bool mount; /* a volume is what fails: event FailedMount */
    char reason[OBSERVED_REASON_MAX];
    char text[OBSERVED_TEXT_MAX];
};

/* Those of the machine; made, with all that the spec names held, when there are none. */
struct needs *needs_make(struct machine *m, const struct pod_spec *spec);
/* The automatic volume's objects too, from now on. */
void needs_hold_automatic(struct needs *needs, const struct pod_spec *spec);
/* Whether all that is held is known: 0, positive: not yet, negative: answer says why. */
int needs_known(const struct needs *needs, struct answer *answer);

/* prepare.c */
void needs_changed(struct needs *needs);
/* The worker is done; err with a negative result. */
void prepare_worked(struct needs *needs, bool refresh, int result, const struct err *err);

/* prepare_files.c. The files of a volume as of now, in arena. 0; positive: not known yet; negative:
 * answer says why. */
int files_collect(struct needs *needs, const struct pod *pod, const struct volume *volume,
                  struct arena *arena, const struct payload_file **ret, size_t *ret_len,
                  struct answer *answer);
/* /etc/hosts, /etc/resolv.conf and /etc/hostname of the Pod. */
size_t files_of_etc(const struct machine *m, const struct pod *pod, struct arena *arena,
                    const struct payload_file **ret);

/* prepare_volumes.c. 0: ready (launch.c finds initrd and shares in needs); positive: under way. */
int volumes_prepare(struct needs *needs, struct pod *pod, struct answer *answer);
/* What a running guest sees is brought up to date. */
void volumes_follow(struct needs *needs, struct pod *pod);
/* Whether the running machine has files that can change. */
bool volumes_are_shared(struct machine *m, struct pod *pod);
void volumes_end(struct needs *needs);
/* <run_dir>/v/<uid>; malloc'd. */
char *prepare_run_dir(const struct machine *m);

/* prepare_token.c. The text; NULL: *ret_error is "" while it is on its way. */
const char *token_get(struct needs *needs, const struct volume *volume, size_t source,
                      const char **ret_error);
/* When a token of this life is to be replaced: 80 % of it, and 24 h at most (contract 4.2). */
int64_t token_refresh_ms(int64_t issued_ms, int64_t expires_ms);
void tokens_end(struct needs *needs);

/* prepare_claim.c. The host's path of a claim's volume; as token_get. */
const char *claim_get(struct needs *needs, const char *name, const char **ret_error);
/* Asks again for those that failed. */
void claims_retry(struct needs *needs);
void claims_end(struct needs *needs);
