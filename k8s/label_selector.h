/* Label selectors in their text form ("app=web,tier in (a,b),!old"), as they stand in queries.
 * Pure: no allocation. Called by provider/scaler/; fuzzed. */
#pragma once

#define LABEL_SELECTOR_MAX 4096
#define LABEL_SELECTOR_TERMS_MAX 64

/* The value of a label; NULL: it is not there. */
typedef const char *(*label_get)(void *userdata, const char *key);

/* 1: the labels match (an empty selector matches all); 0: they do not; -EINVAL: it is no selector.
 */
int label_selector_match(const char *selector, label_get get, void *userdata);
