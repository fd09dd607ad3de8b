/* What a transfer to the API server needs from the configuration: address, CA, client certificate
 * from memory, bearer token. Also the changes of these at run time. */
#include "k8s/client_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

/* "https://host:port/prefix" -> "host", "port" as in the URL; for CONNECT_TO. */
static int split_server(const char *server, char **ret_host, char **ret_port, char **ret_rest)
{
    CURLU *url = curl_url();
    char *host = NULL, *port = NULL, *path = NULL;
    int result = -EINVAL;

    if (url && curl_url_set(url, CURLUPART_URL, server, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK) {
        *ret_host = xstrdup(host);
        *ret_port = xstrdup(port);
        *ret_rest = xstrdup(path);
        result = 0;
    }
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_url_cleanup(url);
    return result;
}

static char *without_slash(char *text)
{
    size_t len = strlen(text);

    while (len > 0 && text[len - 1] == '/')
        text[--len] = '\0';
    return text;
}

int client_setup(struct kube_client *client, const struct kube_config *config, struct err *err)
{
    char *host = NULL, *port = NULL, *rest = NULL;

    if (str_empty(config->server) ||
        (!str_starts(config->server, "https://") && !str_starts(config->server, "http://")))
        return err_spec(err, -EINVAL, "the API server's address \"%s\" is no http(s) URL",
                        config->server ? config->server : "");
    if (split_server(config->server, &host, &port, &rest) < 0)
        return err_spec(err, -EINVAL, "the API server's address \"%s\" is no URL", config->server);
    if (!config->cert_pem != !config->key_pem) {
        free(host);
        free(port);
        free(rest);
        return err_spec(err, -EINVAL, "a client certificate and its key belong together");
    }
    client_setup_free(client);
    kube_config_copy(config, &client->config);
    if (!str_empty(config->tls_server_name) && str_starts(config->server, "https://")) {
        const char *name = config->tls_server_name;

        client->base_url = xasprintf("https://%s:%s%s", name, port, rest);
        client->connect_to = xasprintf("%s:%s:%s:%s", name, port, host, port);
    } else {
        client->base_url = xstrdup(config->server);
    }
    (void)without_slash(client->base_url);
    if (config->token)
        client->token = xstrdup(config->token);
    free(host);
    free(port);
    free(rest);
    return 0;
}

void client_setup_free(struct kube_client *client)
{
    kube_config_free(&client->config);
    memset(&client->config, 0, sizeof(client->config));
    free(client->base_url);
    free(client->connect_to);
    free(client->token);
    client->base_url = client->connect_to = client->token = NULL;
    client->token_ms = 0;
}

/* The file wins over a token in the configuration, as in client-go. What cannot be read leaves the
 * token that we have: it may still be good. */
static const char *current_token(struct kube_client *client)
{
    uint64_t now = clock_mono_ms();
    struct buf text = BUF_INIT(TOKEN_MAX);

    if (!client->config.token_file)
        return client->token;
    if (client->token && client->token_ms != 0 && now - client->token_ms < TOKEN_FRESH_MS)
        return client->token;
    if (file_read(client->config.token_file, &text) == 0) {
        while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]))
            text.data[--text.len] = '\0';
        if (text.len > 0 && !strpbrk(text.data, "\r\n")) {
            free(client->token);
            client->token = xstrdup(text.data);
        }
    }
    client->token_ms = now;
    buf_free(&text);
    return client->token;
}

bool client_token_expire(struct kube_client *client)
{
    client->token_ms = 0;
    return client->config.token_file != NULL;
}

/* The connection idles most of its life: without this OpenSSL keeps 34 KiB of record buffers. */
static CURLcode on_ssl_ctx(CURL *easy, void *ctx, void *userdata)
{
    (void)easy;
    (void)userdata;
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    return CURLE_OK;
}

static void set_blob(CURL *easy, CURLoption option, char *pem)
{
    /* curl copies it into each connection; the configuration outlives the transfer's start. */
    struct curl_blob blob = {.data = pem, .len = strlen(pem), .flags = CURL_BLOB_COPY};

    (void)curl_easy_setopt(easy, option, &blob);
}

void client_prepare(struct kube_client *client, struct transfer *t, const char *path,
                    const char *accept, long total_ms)
{
    const struct kube_config *config = &client->config;
    char *url = xasprintf("%s%s", client->base_url, path);
    const char *token = current_token(client);

    transfer_url(t, url);
    free(url);
    t->connects = &client->stats.connections;
    /* CURLOPT_BUFFERSIZE stays alone: with sizes that differ between the streams of one HTTP/2
     * connection, libcurl 7.88 writes past the smaller buffer. */
    (void)curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS_MAX);
    (void)curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, total_ms);
    (void)curl_easy_setopt(t->easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
    (void)curl_easy_setopt(t->easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    (void)curl_easy_setopt(t->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (config->ca_pem)
        set_blob(t->easy, CURLOPT_CAINFO_BLOB, config->ca_pem);
    if (config->cert_pem) {
        set_blob(t->easy, CURLOPT_SSLCERT_BLOB, config->cert_pem);
        set_blob(t->easy, CURLOPT_SSLKEY_BLOB, config->key_pem);
    }
    if (config->insecure) {
        (void)curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (client->connect_to) {
        struct curl_slist *list = curl_slist_append(NULL, client->connect_to);

        (void)curl_easy_setopt(t->easy, CURLOPT_CONNECT_TO, list);
        t->connect_to = list;
    }
    if (config->proxy_url)
        (void)curl_easy_setopt(t->easy, CURLOPT_PROXY, config->proxy_url);
    (void)curl_easy_setopt(t->easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER);
    transfer_header(t, "Accept", accept);
    if (token) {
        char *value = xasprintf("Bearer %s", token);

        transfer_header(t, "Authorization", value);
        free(value);
    }
}

int client_new_engine(struct kube_client *client)
{
    struct engine *engine = engine_new(client->loop);

    if (!engine)
        return -ENOMEM;
    if (client->engine)
        engine_retire(client->engine);
    client->engine = engine;
    return 0;
}

void client_suspect(struct kube_client *client, const struct transfer *t)
{
    if (t->engine != client->engine || engine_heard_ms(t->engine) >= t->started_ms)
        return;
    if (client_new_engine(client) == 0)
        client_break_streams(client, -ETIMEDOUT);
}
