/* The rows of the route table that take a connection over; what they do is in streams.c. */
#include "provider/endpoints_priv.h"
#include "provider/streams.h"

void handle_attach(struct endpoints *endpoints, struct server_request *request,
                   char *const *segments, size_t len)
{
    streams_attach(endpoints->upgraded, request, segments, len);
}

void handle_exec(struct endpoints *endpoints, struct server_request *request, char *const *segments,
                 size_t len)
{
    streams_exec(endpoints->upgraded, request, segments, len);
}

void handle_forward(struct endpoints *endpoints, struct server_request *request,
                    char *const *segments, size_t len)
{
    streams_forward(endpoints->upgraded, request, segments, len);
}
