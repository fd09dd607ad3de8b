# hook.sh drain|remove: what `helm upgrade` and `helm uninstall` do to the machines, through the API
# server alone. RELEASE is the label of our Nodes; DAEMONSET, CLEANUP and NAMESPACE are the chart's.
set -eu
account=/var/run/secrets/kubernetes.io/serviceaccount
case $KUBERNETES_SERVICE_HOST in
*:*) server="https://[$KUBERNETES_SERVICE_HOST]:$KUBERNETES_SERVICE_PORT" ;;
*) server="https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT" ;;
esac

api() { # METHOD PATH [BODY [TYPE]]
    curl -sS --fail-with-body --retry 5 --retry-connrefused --max-time 30 \
        --cacert "$account/ca.crt" -H "Authorization: Bearer $(cat "$account/token")" -X "$1" \
        -H "Content-Type: ${4:-application/json}" ${3:+--data-binary "$3"} "$server$2"
}

names() { jq -r '.items[].metadata.name'; }
nodes() { api GET "/api/v1/nodes?labelSelector=unikubelet.dev/release%3D$RELEASE" | names; }

pods() { # NODE: namespace/name, without those that a node itself puts there
    api GET "/api/v1/pods?fieldSelector=spec.nodeName%3D$1" | jq -r '.items[] |
        select((.metadata.annotations // {})["kubernetes.io/config.mirror"] == null) |
        "\(.metadata.namespace)/pods/\(.metadata.name)"'
}

until_none() { # WHAT CMD...: there is no event for "none is left"
    what=$1
    shift
    echo "waiting until $what are gone"
    while [ -n "$("$@")" ]; do sleep 1; done
}

drain() {
    for node in $(nodes); do
        echo "taking Pods off $node"
        api PATCH "/api/v1/nodes/$node" '{"spec":{"unschedulable":true}}' \
            application/merge-patch+json >/dev/null
        for pod in $(pods "$node"); do
            api DELETE "/api/v1/namespaces/$pod" >/dev/null || true
        done
    done
    for node in $(nodes); do until_none "the Pods of $node" pods "$node"; done
}

sets() { # of this name, that exist
    api GET "/apis/apps/v1/namespaces/$NAMESPACE/daemonsets?fieldSelector=metadata.name%3D$1" | names
}

set_pods() { # LABELS
    api GET "/api/v1/namespaces/$NAMESPACE/pods?labelSelector=$1" | names
}

delete_set() { # NAME COMPONENT
    [ -z "$(sets "$1")" ] || api DELETE "/apis/apps/v1/namespaces/$NAMESPACE/daemonsets/$1" >/dev/null
    until_none "the Pods of $1" set_pods "$SELECTOR,app.kubernetes.io/component%3D$2"
}

# Services at zero must not go on pointing at an activator that is gone.
slices() {
    api GET "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=$ACTIVATOR" |
        jq -r '.items[] | "\(.metadata.namespace)/endpointslices/\(.metadata.name)"'
}

remove() {
    for slice in $(slices); do
        api DELETE "/apis/discovery.k8s.io/v1/namespaces/$slice" >/dev/null || true
    done
    drain
    delete_set "$DAEMONSET" agent
    echo "cleaning the hosts"
    api POST "/apis/apps/v1/namespaces/$NAMESPACE/daemonsets" "$(cat /hook/cleanup.json)" >/dev/null
    until api GET "/apis/apps/v1/namespaces/$NAMESPACE/daemonsets/$CLEANUP" | jq -e '
        .status.observedGeneration == .metadata.generation and
        .status.numberReady == .status.desiredNumberScheduled' >/dev/null; do
        sleep 1
    done
    delete_set "$CLEANUP" cleanup
    for node in $(nodes); do api DELETE "/api/v1/nodes/$node" >/dev/null; done
}

uncordon() {
    for node in $(nodes); do
        api PATCH "/api/v1/nodes/$node" '{"spec":{"unschedulable":null}}' \
            application/merge-patch+json >/dev/null
    done
}

case $1 in
drain) drain ;;
uncordon) uncordon ;;
remove) remove ;;
esac
echo "done"
