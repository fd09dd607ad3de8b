// apibench is the measuring side of `make bench`: it binds Pods and waits to see them Running, once
// answered by itself (the "null kubelet": the API server's own floor) and once by the agent, in turns.
// Every command prints one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

const (
	namespace  = "default"
	patchType  = "application/strategic-merge-patch+json"
	waitMax    = 120 * time.Second // for one Pod, or for all of a burst
	workers    = 8                 // connections of the null kubelet's burst
	jsonType   = "application/json"
	podsOfNode = "fieldSelector=spec.nodeName%3D"
)

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "apibench: "+format+"\n", args...)
	os.Exit(1)
}

func pod(name, node, image string, args []string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": name, "namespace": namespace, "labels": map[string]any{"bench": "true"}},
		"spec": map[string]any{
			"nodeName": node, "enableServiceLinks": false, "automountServiceAccountToken": false,
			"terminationGracePeriodSeconds": 30,
			"tolerations":                   []any{map[string]any{"operator": "Exists"}},
			"containers": []any{map[string]any{"name": "c", "image": image, "args": args,
				"imagePullPolicy": "IfNotPresent"}},
		},
	}
}

func podPath(name string) string { return "/api/v1/namespaces/" + namespace + "/pods/" + name }

func runningStatus(uid string) map[string]any {
	now := time.Now().UTC().Format(time.RFC3339)
	conditions := []any{}
	for _, t := range []string{"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"} {
		conditions = append(conditions, map[string]any{"type": t, "status": "True", "lastTransitionTime": now})
	}
	return map[string]any{
		"metadata": map[string]any{"uid": uid},
		"status": map[string]any{"phase": "Running", "startTime": now, "hostIP": "10.89.0.2",
			"podIP": "10.88.0.9", "podIPs": []any{map[string]any{"ip": "10.88.0.9"}}, "conditions": conditions,
			"containerStatuses": []any{map[string]any{"name": "c", "image": "i", "imageID": "i", "ready": true,
				"started": true, "restartCount": 0, "containerID": "null://1",
				"state": map[string]any{"running": map[string]any{"startedAt": now}}}}},
	}
}

type bench struct {
	api    *client
	node   string
	null   string
	image  string
	prefix string
	args   []string
}

// remove asks for a graceful end, which the agent finishes; the null kubelet's Pods just go.
func (b *bench) remove(node, name string) {
	options := map[string]any{"kind": "DeleteOptions", "apiVersion": "v1"}
	if node == b.null {
		options["gracePeriodSeconds"] = 0
	}
	b.api.must("DELETE", podPath(name), jsonType, options)
}

// next returns the next event for which want holds.
func next(events <-chan event, want func(event) bool) event {
	timer := time.NewTimer(waitMax)
	defer timer.Stop()
	for {
		select {
		case e, open := <-events:
			if !open {
				fail("the watch ended")
			}
			if want(e) {
				return e
			}
		case <-timer.C:
			fail("nothing seen for %v", waitMax)
		}
	}
}

func (b *bench) once(node, name string, events <-chan event) float64 {
	start := time.Now()
	b.api.must("POST", "/api/v1/namespaces/"+namespace+"/pods", jsonType, pod(name, node, b.image, b.args))
	if node == b.null {
		added := next(events, func(e event) bool { return e.Type == "ADDED" && e.Object.Metadata.Name == name })
		b.api.must("PATCH", podPath(name)+"/status", patchType, runningStatus(added.Object.Metadata.UID))
	}
	ready := next(events, func(e event) bool {
		return e.Type == "MODIFIED" && e.Object.Metadata.Name == name && e.Object.Status.Phase == "Running" && e.Object.is("Ready")
	})
	b.remove(node, name)
	next(events, func(e event) bool { return e.Type == "DELETED" && e.Object.Metadata.Name == name })
	return float64(ready.at.Sub(start).Microseconds()) / 1000
}

// latency: one Pod at a time, the null kubelet and the agent in turns.
func (b *bench) latency(count int) any {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	nullEvents := b.api.watch(ctx, "/api/v1/pods", podsOfNode+b.null)
	agentEvents := b.api.watch(ctx, "/api/v1/pods", podsOfNode+b.node)
	var null, agent []float64
	for i := 0; i < count; i++ {
		null = append(null, b.once(b.null, fmt.Sprintf("%s-null-%d", b.prefix, i), nullEvents))
		agent = append(agent, b.once(b.node, fmt.Sprintf("%s-%d", b.prefix, i), agentEvents))
	}
	return map[string]any{"null_ms": null, "agent_ms": agent}
}

func parallel(count int, work func(i int)) {
	var group sync.WaitGroup
	indexes := make(chan int)
	for w := 0; w < workers; w++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range indexes {
				work(i)
			}
		}()
	}
	for i := 0; i < count; i++ {
		indexes <- i
	}
	close(indexes)
	group.Wait()
}

// burst binds count Pods at once by 8 connections and returns Pods per second to Running.
func (b *bench) burst(count int, node, prefix string) float64 {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := b.api.watch(ctx, "/api/v1/pods", podsOfNode+node)
	patches := make(chan event, count)
	if node == b.null {
		for w := 0; w < workers; w++ {
			go func() {
				for e := range patches {
					b.api.must("PATCH", podPath(e.Object.Metadata.Name)+"/status", patchType, runningStatus(e.Object.Metadata.UID))
				}
			}()
		}
	}
	start := time.Now()
	go parallel(count, func(i int) {
		b.api.must("POST", "/api/v1/namespaces/"+namespace+"/pods", jsonType, pod(fmt.Sprintf("%s-%d", prefix, i), node, b.image, b.args))
	})
	running := map[string]bool{}
	for len(running) < count {
		e := next(events, func(e event) bool { return true })
		if e.Type == "ADDED" && node == b.null {
			patches <- e
		}
		if e.Type == "MODIFIED" && e.Object.Status.Phase == "Running" && e.Object.is("Ready") {
			running[e.Object.Metadata.UID] = true
		}
	}
	close(patches)
	return float64(count) / time.Since(start).Seconds()
}

func (b *bench) removeAll(count int, node, prefix string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := b.api.watch(ctx, "/api/v1/pods", podsOfNode+node)
	go parallel(count, func(i int) { b.remove(node, fmt.Sprintf("%s-%d", prefix, i)) })
	for gone := 0; gone < count; gone++ {
		next(events, func(e event) bool { return e.Type == "DELETED" })
	}
}

// startup runs the agent's command line and waits for its Node to be Ready. A Node that exists is
// marked first as the node lifecycle controller marks those that went silent, so that Ready can only
// be the new agent's word.
func (b *bench) startup(argv []string) any {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.api.must("PATCH", "/api/v1/nodes/"+b.node+"/status", patchType, map[string]any{"status": map[string]any{
		"conditions": []any{map[string]any{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}}}})
	events := b.api.watch(ctx, "/api/v1/nodes", "fieldSelector=metadata.name%3D"+b.node)
	log, err := os.OpenFile(os.Getenv("AGENT_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fail("AGENT_LOG: %v", err)
	}
	command := exec.Command(argv[0], argv[1:]...)
	command.Stderr = log
	start := time.Now()
	if err := command.Start(); err != nil {
		fail("start: %v", err)
	}
	ready := next(events, func(e event) bool { return e.Type != "DELETED" && e.Object.is("Ready") })
	return map[string]any{"ms": float64(ready.at.Sub(start).Microseconds()) / 1000, "pid": command.Process.Pid}
}

// flaps counts changes of the Node's Pods until standard input ends: MODIFIED, those that lost Ready,
// and DELETED. "watching" says that nothing is missed from here on.
func (b *bench) flaps() any {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := b.api.watch(ctx, "/api/v1/pods", podsOfNode+b.node)
	fmt.Println("watching")
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	modified, lost, deleted := 0, 0, 0
	count := func(e event) {
		switch {
		case e.Type == "DELETED":
			deleted++
		case e.Type == "MODIFIED":
			modified++
			if !e.Object.is("Ready") {
				lost++
			}
		}
	}
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case e, open := <-events:
			if !open {
				fail("the watch ended")
			}
			count(e)
		}
	}
	for len(events) > 0 {
		count(<-events)
	}
	return map[string]any{"modified": modified, "lost_ready": lost, "deleted": deleted}
}

func main() {
	server := flag.String("server", "", "https://host:port")
	ca := flag.String("ca", "", "CA file")
	cert := flag.String("cert", "", "client certificate file")
	key := flag.String("key", "", "its key")
	node := flag.String("node", "uk-0", "the agent's Node")
	image := flag.String("image", "", "image of the Pods")
	count := flag.Int("n", 100, "Pods")
	prefix := flag.String("prefix", "bench", "names of the Pods begin so")
	http2 := flag.Bool("http2", true, "speak HTTP/2")
	flag.Parse()
	api, err := newClient(*server, *ca, *cert, *key, *http2)
	if err != nil {
		fail("%v", err)
	}
	b := &bench{api: api, node: *node, null: "null-0", image: *image, prefix: *prefix}
	var result any
	switch flag.Arg(0) {
	case "null-node":
		b.api.call("POST", "/api/v1/nodes", jsonType, map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": b.null}})
		result = map[string]any{}
	case "latency":
		result = b.latency(*count)
	case "burst":
		result = map[string]any{"pods_per_s": b.burst(*count, *node, *prefix)}
	case "burst-null":
		result = map[string]any{"pods_per_s": b.burst(*count, b.null, *prefix)}
	case "remove":
		b.removeAll(*count, *node, *prefix)
		result = map[string]any{}
	case "remove-null":
		b.removeAll(*count, b.null, *prefix)
		result = map[string]any{}
	case "startup":
		result = b.startup(flag.Args()[1:])
	case "flaps":
		result = b.flaps()
	default:
		fail("commands: null-node latency burst burst-null remove remove-null startup flaps")
	}
	text, err := json.Marshal(result)
	if err != nil {
		fail("%v", err)
	}
	fmt.Println(string(text))
}
