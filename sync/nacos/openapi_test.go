package nacos

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func serve(t *testing.T, handler http.HandlerFunc) (address string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func apiOf(t *testing.T, c Config) *openAPI {
	t.Helper()
	a := newOpenAPI(c, nil)
	t.Cleanup(a.close)
	return a
}

var someUnit = &unit{namespace: "public", as: "default", group: "DEFAULT_GROUP"}

func TestOpenAPIFailsOver(t *testing.T) {
	var ill, well atomic.Int32
	first := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		ill.Add(1)
		http.Error(w, "server is STARTING now", http.StatusServiceUnavailable)
	})
	second := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		well.Add(1)
		fmt.Fprint(w, `{"count":1,"doms":["orders"]}`)
	})
	a := apiOf(t, Config{Servers: []string{first, second, "127.0.0.1:1"}})
	for range 3 {
		if names, err := a.names(t.Context(), someUnit); err != nil || len(names) != 1 {
			t.Fatalf("names = %v, %v", names, err)
		}
	}
	if ill.Load() != 1 || well.Load() != 3 {
		t.Errorf("the ill server was asked %d times, the other %d times; want 1 and 3", ill.Load(), well.Load())
	}
}

func TestOpenAPIAnswersThatAreNone(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"fewer names than counted": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"count":3,"doms":["a"]}`) },
		"no JSON":                  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>`) },
		"elsewhere":                func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"count":0,"doms":[]}`)
		},
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) },
	} {
		t.Run(name, func(t *testing.T) {
			a := apiOf(t, Config{Servers: []string{serve(t, handler)}, ContextPath: "/n/"})
			if names, err := a.names(t.Context(), someUnit); err == nil || errors.Is(err, errUnsupported) {
				t.Errorf("names = %v, %v, want an error", names, err)
			}
		})
	}
}

func TestLogIn(t *testing.T) {
	for _, path := range []string{"/nacos/v1/auth/users/login", "/nacos/v3/auth/user/login"} {
		t.Run(path, func(t *testing.T) {
			var logins atomic.Int32
			valid := atomic.Value{}
			valid.Store("")
			address := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == path && r.FormValue("password") == "secret" && r.URL.RawQuery == "":
					valid.Store(fmt.Sprint("token-", logins.Add(1)))
					_ = json.NewEncoder(w).Encode(map[string]any{"accessToken": valid.Load(), "tokenTtl": 18000})
				case r.URL.Path == path:
					http.Error(w, "unknown user!", http.StatusForbidden)
				case !strings.HasSuffix(r.URL.Path, "/list"):
					http.NotFound(w, r)
				case r.Header.Get("Authorization") != "Bearer "+valid.Load().(string):
					http.Error(w, "token invalid", http.StatusForbidden)
				default:
					fmt.Fprint(w, `{"count":0,"doms":[]}`)
				}
			})
			password := "secret"
			a := apiOf(t, Config{Servers: []string{address}, Username: "seamark", Password: func() (string, error) { return password, nil }})
			ask := func() error { _, err := a.names(t.Context(), someUnit); return err }
			for range 2 {
				if err := ask(); err != nil {
					t.Fatal(err)
				}
			}
			if n := logins.Load(); n != 1 {
				t.Errorf("%d log-ins, want 1", n)
			}
			valid.Store("renewed") // the server's key was changed
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			if n := logins.Load(); n != 2 {
				t.Errorf("%d log-ins, want 2", n)
			}
			valid.Store("renewed again")
			password = "wrong"
			err := ask()
			if err == nil || !strings.Contains(err.Error(), "log in as seamark") || strings.Contains(err.Error(), "wrong") {
				t.Errorf("with a wrong password: %v", err)
			}
		})
	}
}

// TestTokenGoesWithGRPC holds the connection to the same log-in.
func TestTokenGoesWithGRPC(t *testing.T) {
	f := newFake(t)
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.1", true)))
	var tokens atomic.Int32
	login := func() string { return fmt.Sprint("token-", tokens.Add(1)) }
	f.change(func() { f.login = login })
	c := oneGroup(t, f.addr)
	c.Username, c.Password = "seamark", func() (string, error) { return "secret", nil }
	s := mustNew(t, c)
	s.timing = quick()
	w := watching(t, s)
	w.until(t, "orders", "192.0.2.1 passing*1")
	f.mu.Lock()
	token := f.headers["accessToken"]
	f.mu.Unlock()
	if token != "token-1" {
		t.Errorf("the token of a request is %q", token)
	}
	f.change(func() { f.refuse["ServiceListRequest"] = 403 }) // until a new token comes
	eventually(t, 5e9, func() string {
		if tokens.Load() < 2 {
			return "no second log-in"
		}
		return ""
	})
	f.change(func() { clear(f.refuse) })
	f.set(t, "orders", info("orders", false, hostJSON("192.0.2.2", true)))
	w.until(t, "orders", "192.0.2.2 passing*1")
}

func TestPasswordThatCannotBeRead(t *testing.T) {
	f := newFake(t)
	c := oneGroup(t, f.addr)
	c.Username, c.Password = "seamark", func() (string, error) { return "", errors.New("no such file") }
	err := watching(t, mustNew(t, c)).ends(t, 5e9)
	if !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Watch ended with %v", err)
	}
}
