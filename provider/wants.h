/* What a Pod asks of its network: host ports, bandwidth, addresses of its choice. Pure. */
#pragma once

#include "runtime/network.h"

#define CONTAINER_PORTS_MAX 64 /* host ports of one Pod */

/* As Kubernetes reads them everywhere (pkg/util/bandwidth of the kubelet): bits a second. */
#define ANNOTATION_INGRESS "kubernetes.io/ingress-bandwidth"
#define ANNOTATION_EGRESS "kubernetes.io/egress-bandwidth"
/* Ours, for CNI's capabilities ips and mac: "10.88.0.9,fd00::9", "02:00:00:00:00:09". */
#define ANNOTATION_IPS "unikubelet.dev/ips"
#define ANNOTATION_MAC "unikubelet.dev/mac"

struct err;
struct pod_spec;

/* ports holds CONTAINER_PORTS_MAX. Strings of ret are the spec's. -EINVAL: an annotation is wrong,
 * err names it. */
int pod_network_wants(const struct pod_spec *spec, struct network_port *ports,
                      struct network_wants *ret, struct err *err);
