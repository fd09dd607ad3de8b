package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// client is the smallest API client that can be fair: keep-alive, no rate limit, no cache.
type client struct {
	server string
	http   *http.Client
}

func newClient(server, caFile, certFile, keyFile string, http2 bool) (*client, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}},
		ForceAttemptHTTP2:   http2,
		MaxIdleConnsPerHost: 64,
	}
	return &client{server: server, http: &http.Client{Transport: transport}}, nil
}

func (c *client) call(method, path, contentType string, body any) (int, []byte, error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, c.server+path, reader)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", contentType)
	answer, err := c.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, text, err
}

// must is call for what has to succeed: a bench that goes on after an error measures nothing.
func (c *client) must(method, path, contentType string, body any) []byte {
	status, text, err := c.call(method, path, contentType, body)
	if err != nil {
		fail("%s %s: %v", method, path, err)
	}
	if status >= 300 && status != http.StatusNotFound {
		fail("%s %s: %d %s", method, path, status, text)
	}
	return text
}

type condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

type object struct {
	Metadata struct {
		Name            string `json:"name"`
		Namespace       string `json:"namespace"`
		UID             string `json:"uid"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Status struct {
		Phase      string      `json:"phase"`
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

func (o *object) is(conditionType string) bool {
	for _, c := range o.Status.Conditions {
		if c.Type == conditionType {
			return c.Status == "True"
		}
	}
	return false
}

type event struct {
	Type   string `json:"type"`
	Object object `json:"object"`
	at     time.Time
}

// watch delivers events of a list path from now on, until the context ends. An API server ends the
// watches of those who are slow for a moment: this one goes on where it was.
func (c *client) watch(ctx context.Context, path, selector string) <-chan event {
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(c.must("GET", path+"?limit=1&"+selector, "", nil), &list); err != nil {
		fail("list %s: %v", path, err)
	}
	version := list.Metadata.ResourceVersion
	events := make(chan event, 65536)
	body := c.watchFrom(ctx, path, selector, version)
	go func() {
		defer close(events)
		for {
			version = deliver(body, version, events)
			body.Close()
			if ctx.Err() != nil {
				return
			}
			body = c.watchFrom(ctx, path, selector, version)
			if body == nil {
				return
			}
		}
	}()
	return events
}

// watchFrom returns the stream of a watch; nil when the context ended.
func (c *client) watchFrom(ctx context.Context, path, selector, version string) io.ReadCloser {
	url := fmt.Sprintf("%s%s?watch=1&resourceVersion=%s&%s", c.server, path, version, selector)
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		fail("watch: %v", err)
	}
	answer, err := c.http.Do(request)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		fail("watch: %v", err)
	}
	return answer.Body
}

// deliver decodes until the stream ends; the version to go on from.
func deliver(body io.Reader, version string, events chan<- event) string {
	decoder := json.NewDecoder(body)
	for {
		var e event
		if err := decoder.Decode(&e); err != nil {
			return version
		}
		if e.Type == "ERROR" {
			fail("the watch cannot go on from version %s", version)
		}
		e.at = time.Now()
		version = e.Object.Metadata.ResourceVersion
		events <- e
	}
}
