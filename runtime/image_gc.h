/* What the image store gives back: images that nobody uses, the longest unused first, when the disk
 * is fuller than a threshold, or when they are old. The kubelet's rule and keys (its
 * pkg/kubelet/images/image_gc_manager). On the loop's thread; removes a few files at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image_store;

struct image_gc_config {
    unsigned high_percent; /* of the disk in use: from here on images are removed */
    unsigned low_percent;  /* until it is down to this */
    uint64_t min_age_s;    /* unused for less than this: stays */
    uint64_t max_age_s;    /* unused for longer: goes, however much room there is; 0: never */
};

struct image_gc_result {
    size_t removed;  /* images */
    size_t blobs;    /* layers and documents that no image needs */
    unsigned before; /* percent of the disk in use */
    unsigned after;
    bool still_too_full; /* above high_percent, and nothing is left to remove */
};

/* Whether some Pod of this host uses what has the digest, of an index or a manifest. Images that
 * are referenced (image_ref) are in use whatever it says. */
typedef bool (*image_in_use)(void *userdata, const char *digest);

/* -EBUSY: something is being pulled, nothing was done: ask again later. */
int image_gc(struct image_store *store, const struct image_gc_config *config, image_in_use in_use,
             void *userdata, struct image_gc_result *ret);
