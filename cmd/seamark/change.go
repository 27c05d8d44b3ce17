package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/cmd/internal/zoneconfig"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// connect opens the connection for commands that read or change the stream
// directly, with the operator's credentials.
func (c *commands) connect(ctx context.Context) (*stream.Conn, error) {
	if u, err := url.Parse(c.nats); err != nil || u.Host == "" {
		return nil, fmt.Errorf("--nats %q is no URL: write for example nats://127.0.0.1:4222", c.nats)
	}
	var signer *chain.Signer
	if c.signingKey != "" {
		var err error
		if signer, err = chain.ReadSigner(c.signingKey); err != nil {
			return nil, proc.Hint(fmt.Errorf("--signing-key %s: %w", c.signingKey, err), "name a file with the seed of a user's NKey (SU…), or NATS credentials")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := stream.Connect(ctx, stream.ConnectConfig{
		Servers: []string{c.nats}, Name: "seamark", Credentials: c.credentials, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, proc.Hint(fmt.Errorf("NATS is not reached: %w", err), "is --nats (or SEAMARK_NATS_URL) right, and --credentials the operator's?")
	}
	if signer != nil {
		conn.SignWith(signer)
	}
	return conn, nil
}

// author names who gives an order: --by, or the user on this machine.
func (c *commands) author() string {
	if c.by != "" {
		return c.by
	}
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

func (c *commands) streams() *cobra.Command {
	settings := stream.Settings{}
	var size string
	parent := &cobra.Command{
		Use: "streams", Short: "Check the streams against the design, or create and change them",
		Long: "global-dns creates missing streams by itself unless streams.manage is false; it never changes one\n" +
			"that exists. These commands show what differs, field by field, and change it by your hand.",
	}
	check := &cobra.Command{
		Use: "check", Short: "Show how the streams differ from what they should be (exit 1 when they do)", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return c.withStreams(command, &settings, size, (*stream.Conn).CheckStreams, true)
		},
	}
	apply := &cobra.Command{
		Use: "apply", Short: "Create missing streams and change those that differ", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return c.withStreams(command, &settings, size, (*stream.Conn).ApplyStreams, false)
		},
	}
	flags := parent.PersistentFlags()
	flags.IntVar(&settings.Replicas, "replicas", 1, "copies of each stream: 1, 3 or 5")
	flags.DurationVar(&settings.HistoryAge, "history-age", 720*time.Hour, "how long the history is kept")
	flags.StringVar(&size, "history-bytes", "10GiB", "guard on the size of the history; 0 for none")
	parent.AddCommand(check, apply)
	return parent
}

func (c *commands) withStreams(command *cobra.Command, settings *stream.Settings, size string,
	do func(*stream.Conn, context.Context, stream.Settings) ([]stream.Difference, error), failing bool,
) error {
	var bytes config.Size
	if err := bytes.UnmarshalText([]byte(size)); err != nil {
		return proc.Usage(fmt.Errorf("--history-bytes: %w", err))
	}
	settings.HistoryBytes = int64(bytes)
	conn, err := c.connect(command.Context())
	if err != nil {
		return err
	}
	defer conn.Close()
	differences, err := do(conn, command.Context(), *settings)
	if err != nil {
		return err
	}
	err = c.output.print(command.OutOrStdout(), differences, func(row func(...any)) {
		if len(differences) == 0 {
			row("both streams are as designed")
			return
		}
		row("STREAM", "FIELD", "HAD", "DESIGNED")
		for _, d := range differences {
			if d.Missing {
				row(d.Stream, "missing", "", "")
				continue
			}
			row(d.Stream, d.Field, d.Have, d.Want)
		}
	})
	if err == nil && failing && len(differences) > 0 {
		err = errors.New("the streams differ from the design: seamark streams apply changes them")
	}
	return err
}

func (c *commands) zone() *cobra.Command {
	parent := &cobra.Command{
		Use: "zone", Short: "Show or change the zone record, which all replicas obey",
		Long: "The zone record holds the zone's name, times to live and name servers. It stands on the stream, so that\n" +
			"all replicas have the same one; the zone section of a global-dns configuration only seeds it.\n" +
			"FILE is a global-dns configuration, of which only the zone section is used.",
	}
	parent.AddCommand(
		&cobra.Command{
			Use: "show", Short: "Print the zone record", Args: cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error {
				return c.withZone(command, func(ctx context.Context, conn *stream.Conn, m registry.Message) error {
					if m.Event == nil || m.Event.Zone == nil {
						return errors.New("no zone record stands on the stream: start global-dns, or use seamark zone apply FILE")
					}
					z := m.Event.Zone
					return c.output.print(command.OutOrStdout(), z, func(row func(...any)) { zoneRows(*z, m, row) })
				})
			},
		},
		&cobra.Command{
			Use: "diff FILE", Short: "Show how FILE differs from the zone record (exit 1 when it does)", Args: cobra.ExactArgs(1),
			RunE: func(command *cobra.Command, args []string) error {
				ours, err := zoneFile(args[0])
				if err != nil {
					return err
				}
				return c.withZone(command, func(_ context.Context, _ *stream.Conn, m registry.Message) error {
					rows := zoneDifferences(m, ours)
					if err := c.output.print(command.OutOrStdout(), rows, func(row func(...any)) { differenceRows(rows, row) }); err != nil {
						return err
					}
					if len(rows) > 0 {
						return errors.New("the file differs from the zone record: seamark zone apply changes the record")
					}
					return nil
				})
			},
		},
		&cobra.Command{
			Use: "apply FILE", Short: "Make FILE the zone record of all replicas", Args: cobra.ExactArgs(1),
			RunE: func(command *cobra.Command, args []string) error {
				ours, err := zoneFile(args[0])
				if err != nil {
					return err
				}
				return c.withZone(command, func(ctx context.Context, conn *stream.Conn, m registry.Message) error {
					rows := zoneDifferences(m, ours)
					if len(rows) == 0 {
						fmt.Fprintln(command.ErrOrStderr(), "the zone record is already so")
						return nil
					}
					sequence, err := conn.Put(ctx, replica.ZoneEvent(ours, c.author(), registry.CauseChange, time.Now()), m.Sequence)
					if errors.Is(err, registry.ErrConflict) {
						return errors.New("somebody else has changed the zone record meanwhile: look at seamark zone diff again")
					}
					if err != nil {
						return err
					}
					fmt.Fprintf(command.ErrOrStderr(), "applied at sequence %d by %s\n", sequence, c.author())
					return c.output.print(command.OutOrStdout(), rows, func(row func(...any)) { differenceRows(rows, row) })
				})
			},
		},
	)
	return parent
}

func (c *commands) withZone(command *cobra.Command, f func(context.Context, *stream.Conn, registry.Message) error) error {
	conn, err := c.connect(command.Context())
	if err != nil {
		return err
	}
	defer conn.Close()
	m, _, err := conn.Last(command.Context(), replica.ZoneFact)
	if err != nil {
		return err
	}
	return f(command.Context(), conn, m)
}

func zoneFile(path string) (registry.ZoneRecord, error) {
	zone, faults := zoneconfig.Load(path)
	if len(faults) > 0 {
		return zone, proc.Faults(faults)
	}
	return zone, nil
}

// zoneDifference is one setting of the zone record.
type zoneDifference struct {
	Field string `json:"field"`
	Have  string `json:"have"`
	Want  string `json:"want"`
}

// zoneFields lists a record's settings as text.
func zoneFields(z registry.ZoneRecord) [][2]string {
	fields := [][2]string{
		{"name", z.Name}, {"ttl", fmt.Sprint(z.TTL)}, {"negative_ttl", fmt.Sprint(z.NegativeTTL)}, {"contact", z.Contact},
	}
	for _, s := range z.TTLByService {
		fields = append(fields, [2]string{"ttl_by_service " + string(s.Pattern), fmt.Sprint(s.TTL)})
	}
	if z.StaleTTL != 0 {
		fields = append(fields, [2]string{"stale_ttl", fmt.Sprint(z.StaleTTL)})
	}
	for _, p := range z.Withdraw {
		fields = append(fields, [2]string{"withdraw " + string(p), "yes"})
	}
	for _, n := range z.Nameservers {
		fields = append(fields, [2]string{"nameserver " + n.Name, fmt.Sprint(n.Addresses)})
	}
	return fields
}

func zoneDifferences(m registry.Message, want registry.ZoneRecord) []zoneDifference {
	have := map[string]string{}
	if m.Event != nil && m.Event.Zone != nil {
		for _, f := range zoneFields(*m.Event.Zone) {
			have[f[0]] = f[1]
		}
	}
	var rows []zoneDifference
	for _, f := range zoneFields(want) {
		if have[f[0]] != f[1] {
			rows = append(rows, zoneDifference{Field: f[0], Have: have[f[0]], Want: f[1]})
		}
		delete(have, f[0])
	}
	for field, value := range have {
		rows = append(rows, zoneDifference{Field: field, Have: value})
	}
	slices.SortFunc(rows, func(a, b zoneDifference) int { return compareText(a.Field, b.Field) })
	return rows
}

func zoneRows(z registry.ZoneRecord, m registry.Message, row func(...any)) {
	row("FIELD", "VALUE")
	for _, f := range zoneFields(z) {
		row(f[0], f[1])
	}
	row("changed", fmt.Sprintf("%s by %s, sequence %d", m.Event.Time.Format(time.RFC3339), m.Event.Agent, m.Sequence))
}

func differenceRows(rows []zoneDifference, row func(...any)) {
	if len(rows) == 0 {
		row("no difference")
		return
	}
	row("FIELD", "RECORD", "FILE")
	for _, d := range rows {
		row(d.Field, d.Have, d.Want)
	}
}
