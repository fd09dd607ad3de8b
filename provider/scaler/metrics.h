/* What is measured of a Service, by the name that an autoscaler asks for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct service;

enum metric {
    METRIC_CONNECTIONS_PER_SECOND,
    METRIC_OPEN_CONNECTIONS,
    METRIC_PENDING_CONNECTIONS,
    METRIC_IDLE_SECONDS,
    METRIC_ACTIVE,
    _METRIC_MAX,
};

const char *metric_to_string(enum metric metric); /* "unikubelet_open_connections" */
bool metric_from_string(const char *text, enum metric *ret);
