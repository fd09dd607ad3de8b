/* What the files of volumes share. Nobody else includes this. */
#pragma once

#include "runtime/volumes.h"

/* volumes_initrd.c: job->out from job->initrd and what is not shared. */
int volumes_make_initrd(struct volumes_job *job, struct err *err);
