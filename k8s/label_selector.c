/* Reads a selector and judges it in one walk: k8s.io/apimachinery's grammar without its numeric
 * comparisons, which no autoscaler writes. */
#include "k8s/label_selector.h"

#include "base/str.h"

#include <errno.h>
#include <string.h>

#define WORD_MAX 320 /* a label's key: 253 + 1 + 63 */

struct scan {
    const char *at;
    char word[WORD_MAX];
};

static void skip_blanks(struct scan *scan)
{
    scan->at += strspn(scan->at, " \t");
}

static bool is_word_char(char c)
{
    return c != '\0' && !strchr(" \t,()!=<>", c) && (unsigned char)c > 0x20 && c != 0x7f;
}

/* false: none there, or too long. */
static bool take_word(struct scan *scan)
{
    size_t len = 0;
    skip_blanks(scan);
    while (is_word_char(scan->at[len]))
        len++;
    if (len == 0 || len >= sizeof(scan->word))
        return false;
    memcpy(scan->word, scan->at, len);
    scan->word[len] = '\0';
    scan->at += len;
    return true;
}

static bool take(struct scan *scan, const char *text)
{
    skip_blanks(scan);
    if (!str_starts(scan->at, text))
        return false;
    scan->at += strlen(text);
    return true;
}

/* "(a,b,)": an empty value is one too. 1: the value is among them. */
static int match_set(struct scan *scan, const char *value)
{
    int found = 0;
    if (!take(scan, "("))
        return -EINVAL;
    for (size_t n = 0; n < LABEL_SELECTOR_TERMS_MAX; n++) {
        const char *item = take_word(scan) ? scan->word : "";
        found = found || (value && str_eq(value, item));
        if (take(scan, ")"))
            return found;
        if (!take(scan, ","))
            return -EINVAL;
    }
    return -EINVAL;
}

/* After the key. */
static int match_rest(struct scan *scan, const char *value)
{
    bool differ = take(scan, "!=");
    if (differ || take(scan, "==") || take(scan, "=")) {
        const char *wanted = take_word(scan) ? scan->word : "";
        bool same = value && str_eq(value, wanted);
        return differ ? !same : same;
    }
    skip_blanks(scan);
    if (*scan->at == ',' || *scan->at == '\0')
        return value != NULL;
    if (!take_word(scan))
        return -EINVAL;
    bool in = str_eq(scan->word, "in");
    if (!in && !str_eq(scan->word, "notin"))
        return -EINVAL;
    int found = match_set(scan, value);
    return found < 0 || in ? found : !found;
}

int label_selector_match(const char *selector, label_get get, void *userdata)
{
    struct scan scan = {.at = selector};
    int result = 1;
    if (strlen(selector) > LABEL_SELECTOR_MAX)
        return -EINVAL;
    skip_blanks(&scan);
    if (*scan.at == '\0')
        return 1;
    for (size_t n = 0; n < LABEL_SELECTOR_TERMS_MAX; n++) {
        bool absent = take(&scan, "!");
        if (!take_word(&scan))
            return -EINVAL;
        const char *value = get(userdata, scan.word);
        int r = absent ? value == NULL : match_rest(&scan, value);
        if (r < 0)
            return r;
        result = result && r;
        skip_blanks(&scan);
        if (*scan.at == '\0')
            return result;
        if (!take(&scan, ","))
            return -EINVAL;
    }
    return -EINVAL;
}
