package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/dnsserver/ask"
)

// The shapes of the HTTP API, as far as tables need them. What is printed as JSON
// or YAML is what the API said, whole.

type statusReply struct {
	Ready          bool   `json:"ready"`
	Zone           string `json:"zone"`
	Version        string `json:"version"`
	Sequence       uint64 `json:"sequence"`
	Serial         uint32 `json:"serial"`
	ClustersSynced int    `json:"clusters_synced"`
	ClustersTotal  int    `json:"clusters_total"`
	Observer       struct {
		Leading  bool   `json:"leading"`
		Holder   string `json:"holder"`
		Epoch    uint64 `json:"epoch"`
		Revision uint64 `json:"revision"`
		Suspects bool   `json:"suspects"`
		Blind    string `json:"blind"`
	} `json:"observer"`
	CutOff *struct {
		Since  time.Time `json:"since"`
		Reason string    `json:"reason"`
	} `json:"cut_off"`
	Checkpoint *struct {
		AgeSeconds float64 `json:"age_seconds"`
		Sequence   uint64  `json:"sequence"`
	} `json:"checkpoint"`
	Archive *struct {
		Sequence uint64    `json:"sequence"`
		Oldest   time.Time `json:"oldest,omitzero"`
		Latest   time.Time `json:"latest,omitzero"`
		Behind   uint64    `json:"behind"`
		Bytes    int64     `json:"bytes"`
		Gaps     int       `json:"gaps"`
		Error    string    `json:"error"`
	} `json:"archive"`
}

// stale tells in a few words since when the answers may not hold; "no" when they do.
func (s statusReply) stale() string {
	if s.CutOff == nil {
		return "no"
	}
	return fmt.Sprintf("for %s: %s", time.Since(s.CutOff.Since).Round(time.Second), s.CutOff.Reason)
}

// checkpoint tells in a few words what is kept on disk.
func (s statusReply) checkpoint() string {
	if s.Checkpoint == nil {
		return "none"
	}
	age := time.Duration(s.Checkpoint.AgeSeconds * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("%d, %s ago", s.Checkpoint.Sequence, age)
}

// archive tells in a few words what is archived.
func (s statusReply) archive() string {
	a := s.Archive
	switch {
	case a == nil:
		return "none"
	case a.Error != "":
		return fmt.Sprintf("%d, can't go on: %s", a.Sequence, a.Error)
	case a.Oldest.IsZero():
		return "empty"
	}
	return fmt.Sprintf("%d, since %s, %d bytes", a.Sequence, a.Oldest.UTC().Format(time.DateOnly), a.Bytes)
}

// observer tells in a few words who decides which clusters are up.
func (s statusReply) observer() string {
	switch who := s.Observer.Holder; {
	case s.Observer.Suspects:
		return who + " (suspects itself)"
	case s.Observer.Blind != "":
		return who + " (" + s.Observer.Blind + ")"
	case s.Observer.Leading:
		return who + " (this one)"
	case who == "":
		return "not heard of"
	default:
		return who
	}
}

func (c *commands) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show whether global-dns is ready, and how far it has read", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			var s statusReply
			if err := c.client().get(command.Context(), "/v1/status", nil, &s); err != nil {
				return err
			}
			return c.output.print(command.OutOrStdout(), s, func(row func(...any)) {
				row("READY", "ZONE", "SERIAL", "SEQUENCE", "STALE", "CHECKPOINT", "ARCHIVE", "CLUSTERS", "OBSERVER", "VERSION")
				row(s.Ready, s.Zone, s.Serial, s.Sequence, s.stale(), s.checkpoint(), s.archive(), fmt.Sprintf("%d of %d synced", s.ClustersSynced, s.ClustersTotal), s.observer(), s.Version)
			})
		},
	}
}

type clustersReply struct {
	Clusters []struct {
		Cluster         string            `json:"cluster"`
		Source          string            `json:"source"`
		Phase           string            `json:"phase"`
		Region          string            `json:"region"`
		Zone            string            `json:"zone"`
		Labels          map[string]string `json:"labels"`
		Epoch           uint64            `json:"epoch"`
		Revision        uint64            `json:"revision"`
		Sequence        uint64            `json:"sequence"`
		Digest          string            `json:"digest"`
		Services        int               `json:"services"`
		Instances       int               `json:"instances"`
		LeaseAgeSeconds *float64          `json:"lease_age_seconds"`
		Gateways        []struct {
			Name      string         `json:"name"`
			Addresses []string       `json:"addresses"`
			Ports     map[string]int `json:"ports"`
			Weight    int            `json:"weight"`
		} `json:"gateways"`
		State    string          `json:"state"`
		Since    *time.Time      `json:"since"`
		Reason   *string         `json:"reason"`
		Evidence json.RawMessage `json:"evidence"`
		Failing  []string        `json:"failing"`
		Orders   []standingOrder `json:"orders"`

		Inherited bool `json:"inherited"`
	} `json:"clusters"`
}

// standingOrder is a drain or a leave that holds.
type standingOrder struct {
	Kind   string     `json:"kind"`
	Target string     `json:"target"`
	By     string     `json:"by"`
	Reason string     `json:"reason"`
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until"`
	Ending bool       `json:"ending"`
	Force  bool       `json:"force"`
}

// shownState tells in a word or two how a cluster stands: what the observer says, whether the
// cluster as a whole is drained or has left, and whether what is known of it is only from
// before the stream was lost.
func shownState(cluster, state string, orders []standingOrder, inherited bool) string {
	if inherited {
		state += ", inherited"
	}
	for _, o := range orders {
		switch {
		case o.Kind == "leave":
			return state + ", left"
		case o.Kind == "drain" && o.Target == cluster:
			return state + ", drained"
		}
	}
	return state
}

func (c *commands) clusters() *cobra.Command {
	return &cobra.Command{
		Use: "clusters", Short: "Show the clusters, how they stand, their agents and their gateways", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			var reply clustersReply
			if err := c.client().get(command.Context(), "/v1/clusters", nil, &reply); err != nil {
				return err
			}
			return c.output.print(command.OutOrStdout(), reply, func(row func(...any)) {
				row("CLUSTER", "STATE", "SINCE", "SOURCE", "PHASE", "LEASE", "EPOCH.REVISION", "SERVICES", "INSTANCES", "GATEWAYS")
				for _, s := range reply.Clusters {
					lease := "never seen"
					if s.LeaseAgeSeconds != nil {
						lease = time.Duration(*s.LeaseAgeSeconds * float64(time.Second)).Round(100 * time.Millisecond).String()
					}
					var gateways []string
					for _, g := range s.Gateways {
						text := g.Name + "=" + strings.Join(g.Addresses, ",")
						if slices.Contains(s.Failing, g.Name) {
							text += " (not reached)"
						}
						gateways = append(gateways, text)
					}
					row(s.Cluster, shownState(s.Cluster, s.State, s.Orders, s.Inherited), ago(s.Since), s.Source, s.Phase, lease, fmt.Sprintf("%d.%d", s.Epoch, s.Revision), s.Services, s.Instances, strings.Join(gateways, " "))
				}
			})
		},
	}
}

type service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Clusters  []struct {
		Cluster   string     `json:"cluster"`
		Healthy   int        `json:"healthy"`
		Total     int        `json:"total"`
		Versions  []string   `json:"versions"`
		Ports     []int      `json:"ports"`
		Epoch     uint64     `json:"epoch"`
		Revision  uint64     `json:"revision"`
		Sequence  uint64     `json:"sequence"`
		ChangedAt *time.Time `json:"changed_at"`
		Instances []struct {
			ID      string            `json:"id"`
			Address string            `json:"address"`
			Port    int               `json:"port"`
			Weight  int               `json:"weight"`
			Health  string            `json:"health"`
			Version string            `json:"version"`
			Meta    map[string]string `json:"meta"`
		} `json:"instances,omitempty"`
	} `json:"clusters"`
	Conflicts []struct {
		Port     string           `json:"port"`
		Clusters map[string][]int `json:"clusters"`
		Detail   string           `json:"detail"`
	} `json:"conflicts"`
}

// conflictPorts names the ports on which the gateways of the service's clusters do not agree.
func (s *service) conflictPorts() string {
	names := make([]string, len(s.Conflicts))
	for n, c := range s.Conflicts {
		names[n] = c.Port
	}
	return strings.Join(names, ",")
}

type servicesReply struct {
	Sequence uint64    `json:"sequence"`
	Services []service `json:"services"`
}

func (c *commands) services() *cobra.Command {
	var cluster, namespace string
	command := &cobra.Command{
		Use: "services [NAMESPACE/NAME]", Short: "List the services, or show one with its instances",
		Example: "  seamark services\n  seamark services --cluster amber\n  seamark services default/checkout",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: c.completeServices,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				return c.oneService(command, args[0])
			}
			parameters := url.Values{}
			for name, value := range map[string]string{"cluster": cluster, "namespace": namespace} {
				if value != "" {
					parameters.Set(name, value)
				}
			}
			var reply servicesReply
			if err := c.client().get(command.Context(), "/v1/services", parameters, &reply); err != nil {
				return err
			}
			return c.output.print(command.OutOrStdout(), reply, func(row func(...any)) {
				row("SERVICE", "CLUSTER", "HEALTHY", "TOTAL", "VERSIONS", "PORTS", "CHANGED", "CONFLICTS")
				for _, s := range reply.Services {
					for _, in := range s.Clusters {
						row(s.Namespace+"/"+s.Name, in.Cluster, in.Healthy, in.Total, strings.Join(in.Versions, ","), joined(in.Ports), ago(in.ChangedAt), s.conflictPorts())
					}
				}
			})
		},
	}
	command.Flags().StringVar(&cluster, "cluster", "", "only what this cluster has")
	command.Flags().StringVar(&namespace, "namespace", "", "only this namespace")
	return command
}

func (c *commands) oneService(command *cobra.Command, name string) error {
	namespace, name, ok := strings.Cut(name, "/")
	if !ok {
		namespace, name = "default", namespace
	}
	var s service
	path := "/v1/services/" + url.PathEscape(namespace) + "/" + url.PathEscape(name)
	if err := c.client().get(command.Context(), path, nil, &s); err != nil {
		return err
	}
	return c.output.print(command.OutOrStdout(), s, func(row func(...any)) {
		row("CLUSTER", "INSTANCE", "HEALTH", "WEIGHT", "ADDRESS", "VERSION", "META")
		for _, in := range s.Clusters {
			if len(in.Instances) == 0 {
				row(in.Cluster, "none", "", "", "", "", "")
			}
			for _, i := range in.Instances {
				var meta []string
				for _, k := range slices.Sorted(maps.Keys(i.Meta)) {
					meta = append(meta, k+"="+i.Meta[k])
				}
				row(in.Cluster, i.ID, i.Health, i.Weight, fmt.Sprintf("%s:%d", i.Address, i.Port), i.Version, strings.Join(meta, ","))
			}
		}
		for _, c := range s.Conflicts {
			row("conflict: " + c.Detail)
		}
	})
}

func (c *commands) completeServices(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var reply servicesReply
	if len(args) > 0 || c.client().get(command.Context(), "/v1/services", nil, &reply) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, 0, len(reply.Services))
	for _, s := range reply.Services {
		names = append(names, s.Namespace+"/"+s.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

type resolveReply struct {
	RCode   string   `json:"rcode"`
	Answers []string `json:"answers"`
	Why     []struct {
		Cluster string `json:"cluster"`
		In      bool   `json:"in"`
		Reason  string `json:"reason"`
	} `json:"why"`
}

func (c *commands) resolve() *cobra.Command {
	var server, at string
	command := &cobra.Command{
		Use: "resolve NAME [TYPE]", Short: "Ask DNS for a name, and show for every cluster why it is in the answer or not",
		Long: "Ask DNS itself (--dns) for a name, and global-dns (--server) for the reason.\n" +
			"The two can differ for a moment when they are two replicas; that is said.\n" +
			"With --at no server is asked: it shows what would have been answered then, by the history.",
		Example: "  seamark resolve checkout.svc.mesh.internal\n  seamark resolve _http._tcp.checkout.svc.mesh.internal SRV\n  seamark resolve checkout.svc.mesh.internal --at 14:02",
		Args:    cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return ask.Types(), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(command *cobra.Command, args []string) error {
			if at != "" {
				return c.resolvePast(command, at, args)
			}
			rrtype := "A"
			if len(args) == 2 {
				rrtype = strings.ToUpper(args[1])
			}
			answer, err := ask.Ask(command.Context(), server, args[0], rrtype)
			if err != nil {
				return proc.Hint(err, "is --dns the address that global-dns listens on?")
			}
			var reason resolveReply
			if err := c.client().get(command.Context(), "/v1/resolve", url.Values{"name": {args[0]}, "type": {rrtype}}, &reason); err != nil {
				return err
			}
			result := map[string]any{
				"server": server, "rcode": answer.RCode, "answers": answer.Records, "extended": answer.Extended,
				"protocol": answer.Protocol, "took_ms": float64(answer.Took.Microseconds()) / 1000, "why": reason.Why,
			}
			return c.output.print(command.OutOrStdout(), result, func(row func(...any)) {
				row(fmt.Sprintf("%s from %s over %s in %.1f ms", answer.RCode, server, answer.Protocol, float64(answer.Took.Microseconds())/1000))
				for _, text := range append(answer.Records, answer.Extended...) {
					row("  " + strings.ReplaceAll(text, "\t", " "))
				}
				if reason.RCode != answer.RCode || len(reason.Answers) != len(answer.Records) {
					row("  (the replica asked over HTTP answers " + reason.RCode + fmt.Sprintf(" with %d records)", len(reason.Answers)))
				}
				row("CLUSTER", "IN", "WHY")
				for _, w := range reason.Why {
					row(w.Cluster, w.In, w.Reason)
				}
			})
		},
	}
	command.Flags().StringVar(&at, "at", "", "a moment of the past, as seamark audit has them: 14:02, \"2h ago\", '#912'")
	command.Flags().StringVar(&server, "dns", cmp.Or(c.environ("SEAMARK_DNS"), "127.0.0.1:5300"), "address of the DNS server to ask (or SEAMARK_DNS)")
	return command
}

func joined(numbers []int) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = fmt.Sprint(n)
	}
	return strings.Join(texts, ",")
}

func ago(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return time.Since(*t).Round(time.Second).String() + " ago"
}
