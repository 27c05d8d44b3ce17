package nacos

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of one request to the open API.
const (
	httpTimeout = 3 * time.Second
	httpMost    = 64 << 20 // bytes of an answer
)

// errUnsupported says that the server does not have the asked path.
var errUnsupported = errors.New("the server does not have this API")

// statusError is an answer other than 200.
type statusError struct {
	Status int
	Text   string
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Status, e.Text) }

// openAPI is the second witness: Nacos's HTTP API. It may be used by several
// goroutines; close ends its connections.
type openAPI struct {
	bases    []string // scheme, server and context path of each server
	client   *http.Client
	username string
	password func() (string, error)

	preferred atomic.Int32 // index of the server that answered last
	modern    atomic.Bool  // v1 is not there: Nacos 3 without compatibility

	mu    sync.Mutex // guards the fields below
	token string
	until time.Time // when the token is to be renewed
}

func newOpenAPI(c Config, secure *tls.Config) *openAPI {
	scheme, path := "http://", strings.TrimRight(c.ContextPath, "/")
	if secure != nil {
		scheme = "https://"
	}
	if c.ContextPath == "" {
		path = "/nacos"
	}
	a := &openAPI{
		username: c.Username, password: c.Password,
		client: &http.Client{
			Transport: &http.Transport{
				TLSClientConfig: secure, MaxIdleConnsPerHost: workers, MaxConnsPerHost: 2 * workers, IdleConnTimeout: time.Minute,
				MaxResponseHeaderBytes: 1 << 20,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	for _, s := range c.Servers {
		a.bases = append(a.bases, scheme+s+path)
	}
	return a
}

func (a *openAPI) close() { a.client.CloseIdleConnections() }

// names asks which services a unit has. It is errUnsupported on a server that
// tells this to administrators only (Nacos 3).
func (a *openAPI) names(ctx context.Context, u *unit) ([]string, error) {
	body, err := a.get(ctx, "/v1/ns/service/list", url.Values{
		"namespaceId": {u.namespace}, "groupName": {u.group}, "pageNo": {"1"}, "pageSize": {fmt.Sprint(listSize)},
	})
	if err != nil {
		return nil, err
	}
	var list struct {
		Count int      `json:"count"`
		Names []string `json:"doms"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("service list of %s: %w", u, err)
	}
	if list.Count != len(list.Names) {
		return nil, fmt.Errorf("service list of %s: %d names of %d", u, len(list.Names), list.Count)
	}
	return list.Names, nil
}

// instances asks for all instances of a service, the unhealthy too. A service
// that is not there has none.
func (a *openAPI) instances(ctx context.Context, o origin) (reading, error) {
	path, name := "/v1/ns/instance/list", o.unit.group+"@@"+o.name
	modern := a.modern.Load()
	if modern {
		path, name = "/v3/client/ns/instance/list", o.name
	}
	body, err := a.get(ctx, path, url.Values{
		"namespaceId": {o.unit.namespace}, "groupName": {o.unit.group}, "serviceName": {name}, "healthyOnly": {"false"},
	})
	if errors.Is(err, errUnsupported) && !modern {
		a.modern.Store(true)
		return a.instances(ctx, o)
	}
	if err != nil {
		return reading{}, err
	}
	return answered(body)
}

// get asks the servers in turn, the one that answered last first, until one
// answers.
func (a *openAPI) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	var last error
	first := int(a.preferred.Load())
	for n := range a.bases {
		server := (first + n) % len(a.bases)
		body, err := a.getFrom(ctx, a.bases[server], path+"?"+query.Encode())
		if err == nil || ctx.Err() != nil || definite(err) {
			a.preferred.Store(int32(server))
			return body, err
		}
		last = err
	}
	return nil, last
}

// definite reports whether another server would say the same.
func definite(err error) bool {
	status := new(statusError)
	return errors.Is(err, errUnsupported) || errors.As(err, &status) && status.Status < 500
}

func (a *openAPI) getFrom(ctx context.Context, base, path string) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		token, err := a.authorize(ctx, base)
		if err != nil {
			return nil, err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
		if err != nil {
			return nil, err
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		body, err := a.do(ctx, request)
		status := new(statusError)
		if token != "" && attempt == 1 && errors.As(err, &status) && (status.Status == http.StatusForbidden || status.Status == http.StatusUnauthorized) {
			a.expire(token) // a new key on the server, or a restart: log in once more
			continue
		}
		return body, err
	}
}

// do returns the body of a 200; everything else is an error without secrets.
func (a *openAPI) do(ctx context.Context, request *http.Request) ([]byte, error) {
	limited, cancel := context.WithTimeoutCause(ctx, httpTimeout, fmt.Errorf("no answer within %v", httpTimeout))
	defer cancel()
	at := request.Method + " " + request.URL.Host + request.URL.Path
	response, err := a.client.Do(request.WithContext(limited))
	if err != nil {
		if cause := context.Cause(limited); cause != nil {
			err = cause
		}
		unwrapped := new(url.Error)
		if errors.As(err, &unwrapped) {
			err = unwrapped.Err // without the query
		}
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, httpMost+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", at, err)
	case len(body) > httpMost:
		return nil, fmt.Errorf("%s: the answer is longer than %d bytes", at, httpMost)
	}
	switch response.StatusCode {
	case http.StatusOK:
		return body, nil
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented:
		return nil, fmt.Errorf("%s: HTTP %d: %w", at, response.StatusCode, errUnsupported)
	}
	return nil, fmt.Errorf("%s: %w", at, &statusError{Status: response.StatusCode, Text: clip(strings.TrimSpace(string(body)))})
}

// bearer returns a token for requests by gRPC; "" where nothing is configured.
func (a *openAPI) bearer(ctx context.Context) (string, error) {
	return a.authorize(ctx, a.bases[a.preferred.Load()])
}

// authorize returns a token that is valid for a while, logging in where needed;
// "" where nothing is configured.
func (a *openAPI) authorize(ctx context.Context, base string) (string, error) {
	if a.username == "" {
		return "", nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && time.Now().Before(a.until) {
		return a.token, nil
	}
	password, err := a.password()
	if err != nil {
		return "", fmt.Errorf("password of %s: %w", a.username, err)
	}
	form := url.Values{"username": {a.username}, "password": {password}}.Encode()
	var body []byte
	for _, path := range []string{"/v1/auth/users/login", "/v3/auth/user/login"} {
		var request *http.Request
		request, err = http.NewRequestWithContext(ctx, http.MethodPost, base+path, strings.NewReader(form))
		if err != nil {
			return "", err
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if body, err = a.do(ctx, request); !errors.Is(err, errUnsupported) {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("log in as %s: %w", a.username, err)
	}
	type grant struct {
		Token   string  `json:"accessToken"`
		Seconds float64 `json:"tokenTtl"`
	}
	var answer struct {
		grant
		Data grant `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("log in as %s: the answer is no JSON", a.username)
	}
	if answer.Token == "" {
		answer.grant = answer.Data
	}
	if answer.Token == "" {
		return "", fmt.Errorf("log in as %s: the answer has no token", a.username)
	}
	a.token = answer.Token
	a.until = time.Now().Add(time.Duration(min(max(answer.Seconds, 1), 1<<30)*0.8) * time.Second)
	return a.token, nil
}

// expire drops a token that was refused.
func (a *openAPI) expire(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == token {
		a.token = ""
	}
}
