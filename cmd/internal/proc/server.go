package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Bounds of what a client of the HTTP server can use up.
const (
	maxConnections = 512
	maxHeader      = 32 << 10 // bytes
	maxRequest     = 1 << 20  // bytes of a request's body
	headerTimeout  = 5 * time.Second
	readTimeout    = 15 * time.Second
	writeTimeout   = time.Minute
	idleTimeout    = 2 * time.Minute
	closeTimeout   = 5 * time.Second // for requests that run when the server ends
)

// HTTPConfig says what the HTTP server of a daemon answers. All is required but Routes.
type HTTPConfig struct {
	Address   string                  // to listen on
	ReadyText func() string           // what /readyz says when it is; nil: "ready"
	Ready     func() error            // nil: ready; the error's text is shown. Called by many goroutines
	Metrics   prometheus.Gatherer     // for /metrics
	Routes    map[string]http.Handler // by pattern of [http.ServeMux]: "GET /v1/status"
	Logger    *slog.Logger
}

// Server answers /healthz, /readyz, /metrics and the daemon's own routes.
type Server struct {
	server   *http.Server
	listener net.Listener
	base     context.CancelFunc // ends the requests
}

// Listen opens the server's port, so that one that is taken is known at once. The
// server answers when [Server.Run] runs; a Server that never runs must be closed.
func Listen(ctx context.Context, c HTTPConfig) (*Server, error) {
	var network net.ListenConfig
	listener, err := network.Listen(ctx, "tcp", c.Address)
	if err != nil {
		return nil, Hint(fmt.Errorf("http: %w", err), "another program may use the port; change http in the configuration, SEAMARK_HTTP or --http")
	}
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &http.Server{
		Handler:           http.MaxBytesHandler(routes(c), maxRequest),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return requests },
	}
	return &Server{server: s, listener: netutil.LimitListener(listener, maxConnections), base: cancel}, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close ends the server at once.
func (s *Server) Close() error {
	s.base()
	return errors.Join(s.server.Close(), ignoreClosed(s.listener.Close()))
}

// Run answers until ctx ends, then lets the requests that run finish, for five
// seconds at most. It returns nil when it ended because ctx did.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(s.listener) }()
	select {
	case err := <-served:
		s.base()
		return fmt.Errorf("http: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err := s.server.Shutdown(limit)
	s.base()
	if err != nil { // a client that does not read: it is cut off
		err = s.server.Close()
	}
	<-served //nolint:errcheck // it is ErrServerClosed
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func routes(c HTTPConfig) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := c.Ready(); err != nil {
			Problem(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		text := "ready"
		if c.ReadyText != nil {
			text = c.ReadyText()
		}
		plain(w, text)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 8}))
	for pattern, handler := range c.Routes {
		mux.Handle(pattern, handler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		handler, pattern := mux.Handler(r)
		if pattern == "" { // the mux's own answer, in this server's words
			var answer status
			handler.ServeHTTP(&answer, r)
			if allow := answer.header.Get("Allow"); allow != "" {
				w.Header().Set("Allow", allow)
			}
			Problem(w, answer.code, fmt.Sprintf("%.16s %.256q is not answered here", r.Method, r.URL.Path))
			return
		}
		mux.ServeHTTP(w, r) // not handler: the mux sets the path's values
	})
}

// status is a ResponseWriter that keeps code and header only.
type status struct {
	header http.Header
	code   int
}

func (s *status) Header() http.Header {
	if s.header == nil {
		s.header = make(http.Header)
	}
	return s.header
}
func (s *status) Write(b []byte) (int, error) { return len(b), nil }
func (s *status) WriteHeader(code int)        { s.code = code }

func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, text)
}

// Problem answers with problem details (RFC 9457): status is the HTTP status code,
// detail a sentence for a person.
func Problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct { // a client that went away is no fault of ours
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{"about:blank", http.StatusText(status), status, detail})
}

// JSON answers with a value as JSON and the status 200.
func JSON(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		Problem(w, http.StatusInternalServerError, "the answer can't be written as JSON")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n')) // a client that went away is no fault of ours
}

// NewMetrics returns a registry with what every daemon tells: the Go runtime, the
// process, and seamark_build_info {component, version}.
func NewMetrics(component string) *prometheus.Registry {
	metrics := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "seamark_build_info",
		Help:        "Always 1; its labels say what runs.",
		ConstLabels: prometheus.Labels{"component": component, "version": Version()},
	})
	build.Set(1)
	metrics.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return metrics
}
