package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
)

// healthTimeout bounds one question; a daemon that needs longer is not well.
const healthTimeout = 4 * time.Second

// healthCommand asks a daemon that runs on this machine how it is. It is what
// health checks of containers run, for their images have no shell.
func healthCommand(d Daemon, environ []string) *cobra.Command {
	var ready bool
	health := &cobra.Command{
		Use:   "health",
		Short: "Ask the daemon that runs with this configuration whether it is alive, or ready",
		Long: `Health asks the daemon on this machine that was started with the same configuration: /healthz, or with --ready /readyz,
at the address that is set as http. It exits with 0 when the answer is good, with 1 when it is not or none comes within
` + healthTimeout.String() + `, with 2 when the address can't be known. It is made for health checks of containers.`,
		Example: indent(d.Name + " health --config " + d.Name + ".yaml\n" + d.Name + " health --ready --http 127.0.0.1:8080"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, _, err := start(cmd, environ)
			if err != nil {
				return err
			}
			address, err := answersAt(in)
			if err != nil {
				return err
			}
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			said, err := askHealth(cmd.Context(), "http://"+address+path)
			if err != nil {
				return Hint(err, "see the daemon's log")
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), said)
			return err
		},
	}
	health.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready, not only whether it is alive")
	return health
}

// answersAt returns where a daemon that listens as the configuration says is
// reached from its own machine. Other fields may be wrong: a daemon whose file was
// spoilt while it runs is still well.
func answersAt(in Input) (string, error) {
	var part struct {
		HTTP string `yaml:"http"`
	}
	r := config.Load(&part, in.Path, in.Environ, in.Flags)
	if r.Bad("http") {
		return "", Faults(r.Faults())
	}
	if part.HTTP == "" {
		if f := in.Flags.Lookup("http"); f != nil {
			part.HTTP = f.DefValue
		}
	}
	host, port, err := net.SplitHostPort(part.HTTP)
	if err != nil || port == "0" {
		return "", Hint(Usage(fmt.Errorf("http is %q: no address at which the daemon could be asked", part.HTTP)), "give it as --http HOST:PORT")
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}

// askHealth returns what the daemon says at url when that is good, and an error
// with its words when it is not.
func askHealth(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", Usage(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this machine
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return "", fmt.Errorf("get %s: %w", url, err)
	}
	said := strings.TrimSpace(string(body))
	if response.StatusCode == http.StatusOK {
		return said, nil
	}
	var problem struct{ Detail string }
	if json.Unmarshal(body, &problem) == nil && problem.Detail != "" {
		return "", errors.New(problem.Detail)
	}
	return "", fmt.Errorf("get %s: %s: %.256s", url, response.Status, said)
}
