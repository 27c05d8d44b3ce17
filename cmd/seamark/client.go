package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

// client asks the HTTP API of one global-dns.
type client struct{ server string }

// maxReply bounds an answer of the API, in bytes.
const maxReply = 1 << 30

// problem is an error of the API (RFC 9457).
type problem struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Status int    `json:"status"`
}

var errNotFound = errors.New("not found")

// get reads path with these parameters into v.
func (c client) get(ctx context.Context, path string, parameters url.Values, v any) error {
	base, err := url.Parse(c.server)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return fmt.Errorf("--server %q is no URL: write for example http://127.0.0.1:8080", c.server)
	}
	target := base.JoinPath(path)
	target.RawQuery = parameters.Encode()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return proc.Hint(fmt.Errorf("global-dns is not reached: %w", err), "is it running, and is --server (or SEAMARK_SERVER) its http address?")
	}
	defer reply.Body.Close()
	body := io.LimitReader(reply.Body, maxReply)
	if reply.StatusCode == http.StatusOK {
		if err := json.NewDecoder(body).Decode(v); err != nil {
			return fmt.Errorf("%s does not answer as global-dns does: %w", target.Redacted(), err)
		}
		return nil
	}
	var p problem
	if err := json.NewDecoder(body).Decode(&p); err != nil || p.Title == "" {
		return fmt.Errorf("%s answers %s: is it global-dns?", target.Redacted(), reply.Status)
	}
	text := p.Title
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if reply.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w: %s", errNotFound, text)
	}
	return errors.New(text)
}
