package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, c HTTPConfig) (url string, end func() error) {
	t.Helper()
	c.Address, c.Logger = "127.0.0.1:0", quietLogger()
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics("test")
	}
	s, err := Listen(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + s.Addr().String(), begin(t, s.Run)
}

func ask(t *testing.T, method, url string) (status int, header http.Header, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func TestServer(t *testing.T) {
	var fault atomic.Pointer[error]
	url, end := serve(t, HTTPConfig{
		Ready: func() error {
			if err := fault.Load(); err != nil {
				return *err
			}
			return nil
		},
		Routes: map[string]http.Handler{
			"GET /v1/things/{name}": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				JSON(w, map[string]string{"name": r.PathValue("name")})
			}),
			"GET /v1/panic": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") }),
			"GET /v1/bad":   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { JSON(w, func() {}) }),
		},
	})
	notReady := errors.New("not caught up")
	for _, tt := range []struct {
		method, path string
		ready        *error
		status       int
		kind, body   string
	}{
		{"GET", "/healthz", &notReady, 200, "text/plain", "ok\n"},
		{"GET", "/readyz", nil, 200, "text/plain", "ready\n"},
		{"GET", "/readyz", &notReady, 503, "application/problem+json", `"detail":"not caught up"`},
		{"GET", "/metrics", nil, 200, "text/plain", `seamark_build_info{component="test",version=`},
		{"GET", "/metrics", nil, 200, "text/plain", "go_goroutines"},
		{"GET", "/v1/things/a%2Fb", nil, 200, "application/json", `{"name":"a/b"}`},
		{"GET", "/nothing", nil, 404, "application/problem+json", `"title":"Not Found","status":404,"detail":"GET \"/nothing\" is not answered here"`},
		{"POST", "/healthz", nil, 405, "application/problem+json", `"status":405`},
		{"GET", "/v1/bad", nil, 500, "application/problem+json", `"status":500`},
		{"HEAD", "/healthz", nil, 200, "text/plain", ""},
	} {
		fault.Store(tt.ready)
		status, header, body := ask(t, tt.method, url+tt.path)
		if status != tt.status || !strings.HasPrefix(header.Get("Content-Type"), tt.kind) || !strings.Contains(body, tt.body) {
			t.Errorf("%s %s: %d %s %q, want %d %s %q", tt.method, tt.path, status, header.Get("Content-Type"), body, tt.status, tt.kind, tt.body)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: content may be sniffed", tt.method, tt.path)
		}
		if status == 405 && header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: allows %q", tt.method, tt.path, header.Get("Allow"))
		}
		if tt.kind == "application/problem+json" && tt.method != "HEAD" && !json.Valid([]byte(body)) {
			t.Errorf("%s %s: no JSON: %q", tt.method, tt.path, body)
		}
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if response, err := client.Get(url + "/v1/panic"); err == nil {
		response.Body.Close()
		t.Error("a handler that panics gave an answer")
	}
	if status, _, _ := ask(t, "GET", url+"/healthz"); status != 200 {
		t.Error("a handler that panics ended the server")
	}
	if err := end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Listen(t.Context(), HTTPConfig{Address: taken.Addr().String(), Logger: quietLogger()})
	var hinted *Hinted
	if !errors.As(err, &hinted) || !strings.Contains(err.Error(), "in use") || !strings.Contains(hinted.Hint, "--http") {
		t.Errorf("Listen: %v", err)
	}
}

// TestServerEndsInOrder lets a request finish and cuts off one that never would.
func TestServerEndsInOrder(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	url, end := serve(t, HTTPConfig{Routes: map[string]http.Handler{
		"GET /slow": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			entered <- struct{}{}
			<-release
			fmt.Fprint(w, "done")
		}),
		"GET /endless": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			<-r.Context().Done()
		}),
	}})
	slow := make(chan string, 1)
	go func() {
		_, _, body := ask(t, "GET", url+"/slow")
		slow <- body
	}()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	endless := make(chan struct{})
	go func() {
		defer close(endless)
		if response, err := client.Get(url + "/endless"); err == nil {
			response.Body.Close()
		}
	}()
	<-entered
	<-entered
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- end() }()
	close(release)
	if body := <-slow; body != "done" {
		t.Errorf("the slow request got %q", body)
	}
	<-ended
	<-endless
	if took := time.Since(start); took > 2*closeTimeout {
		t.Errorf("the server took %v to end", took)
	}
}

func TestServerBoundsHeaders(t *testing.T) {
	url, _ := serve(t, HTTPConfig{})
	request, _ := http.NewRequestWithContext(t.Context(), "GET", url+"/healthz", nil)
	request.Header.Set("X-Large", strings.Repeat("x", 2*maxHeader))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
}
