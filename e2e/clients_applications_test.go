package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// applications find gateways by DNS themselves, and send requests there.
func applications() []*client {
	return []*client{
		{name: "HAProxy, SRV", need: program("haproxy", "haproxy"), within: 5 * time.Second, fixed: true, start: startHAProxy},
		{name: "nginx, A", need: program("nginx", "nginx-light"), within: cached, fixed: true, start: startNginx},
	}
}

// through sends some requests to an application and returns the addresses of those
// clusters that answered.
func through(address string) asking {
	caller := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context, _ string) ([]string, error) {
		var all []string
		for range 40 { // nginx chooses at random, and not very
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", http.NoBody)
			if err != nil {
				return nil, err
			}
			reply, err := caller.Do(request)
			if err != nil {
				return nil, err
			}
			body, err := io.ReadAll(reply.Body)
			_ = reply.Body.Close()
			gateway, known := gatewayOf[string(body)]
			if err != nil || !known {
				return nil, fmt.Errorf("%s %.200q %w", reply.Status, body, err)
			}
			all = append(all, gateway)
		}
		slices.Sort(all)
		return slices.Compact(all), nil
	}
}

// application waits until one answers.
func (s *shore) application(t *testing.T, name, address string) asking {
	t.Helper()
	ask := through(address)
	s.eventually(t, 20*time.Second, name+" reaches the gateway", func() error {
		_, err := ask(t.Context(), "web")
		return err
	})
	return ask
}

func startHAProxy(t *testing.T, s *shore) asking {
	t.Helper()
	path, address := servers.NeedProgram(t, "haproxy", "haproxy"), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	config := s.config(t, "haproxy/haproxy.cfg", fmt.Sprintf(`
global
    log stderr format raw local0 notice
defaults
    mode http
    log global
    timeout connect 2s
    timeout client 5s
    timeout server 5s
frontend in
    bind %s
    default_backend web
%s`, address, s.clientSnippet(t, "haproxy", "192.0.2.1:5300", s.queries[0], "192.0.2.2:5300", s.queries[1])))
	if out, err := exec.CommandContext(t.Context(), path, "-c", "-f", config).CombinedOutput(); err != nil || strings.Contains(string(out), "WARNING") {
		t.Errorf("HAProxy says of its configuration: %v\n%s", err, out)
	}
	runSecondary(t, &secondary{name: "HAProxy", log: config + ".log"}, path, "-db", "-f", config)
	return s.application(t, "HAProxy", address)
}

func startNginx(t *testing.T, s *shore) asking {
	t.Helper()
	path, address, dir := servers.NeedProgram(t, "nginx", "nginx-light"), fmt.Sprintf("127.0.0.1:%d", freePort(t)), filepath.Join(s.dir, "nginx")
	config := s.config(t, "nginx/nginx.conf", fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path %[1]s/body;
    proxy_temp_path %[1]s/proxy;
    fastcgi_temp_path %[1]s/fastcgi;
    uwsgi_temp_path %[1]s/uwsgi;
    scgi_temp_path %[1]s/scgi;
%[2]s
}`, dir, s.clientSnippet(t, "nginx", "192.0.2.1:5300", s.queries[0], "192.0.2.2:5300", s.queries[1], "listen 8000", "listen "+address, ":8080", fmt.Sprint(":", s.port))))
	runSecondary(t, &secondary{name: "nginx", log: config + ".log"}, path, "-p", dir, "-e", "stderr", "-c", config)
	return s.application(t, "nginx", address)
}
