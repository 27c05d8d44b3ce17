package registry_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seamark-mesh/seamark/registry"
)

// difference tells how two Views of one sequence differ; "" when they do not. The
// bytes are what is promised; the rest is what a reader of a View can see beside.
func difference(got, want *registry.View) string {
	same := bytes.Equal(got.AppendCanonical(nil), want.AppendCanonical(nil))
	if diff := cmp.Diff(visible(want), visible(got), cmpopts.EquateComparable(), cmpopts.IgnoreUnexported(registry.ClusterState{})); diff != "" {
		return fmt.Sprintf("canonical bytes equal: %v; (-want +got)\n%s", same, diff)
	}
	if !same {
		return "the canonical bytes differ, although all that can be seen is equal"
	}
	return ""
}

type seen struct {
	Sequence             uint64
	Zone                 *registry.ZoneRecord
	Services, Conflicts  int
	Clusters             []registry.ClusterState
	Names                []string
	NamespaceDefaultShop [2]bool
}

// visible flattens what a reader can see of a View, but for what depends on the
// way in which it was read: a fence that only passing by could teach, and the
// place of the last message that was looked at.
func visible(v *registry.View) seen {
	s := seen{Sequence: v.Sequence(), Zone: v.Zone(), Services: v.Services(), Conflicts: v.Conflicts()}
	s.NamespaceDefaultShop = [2]bool{v.HasNamespace("default", ""), v.HasNamespace("shop", "")}
	for _, c := range v.Clusters() {
		state := *c
		state.Fences = nil
		s.Clusters = append(s.Clusters, state)
	}
	for n := range v.Names() {
		var b strings.Builder
		fmt.Fprintf(&b, "%s.%s:", n.Labels.Name, n.Labels.Namespace)
		for _, e := range n.Entries[:1+len(n.Conflicting())] {
			fmt.Fprintf(&b, " %s[", e.Key)
			for _, r := range e.Records {
				fmt.Fprintf(&b, " %s@%d %d/%d %d/%d %v %v %v %v %v", r.Cluster, r.Sequence, r.Epoch, r.Revision,
					r.Serving, r.Total, r.Truncated, r.Tombstone(), r.Changed, r.Digest, r.Service)
			}
			b.WriteString("]")
		}
		s.Names = append(s.Names, b.String())
	}
	slices.Sort(s.Names)
	return s
}

func cmpSeen(got, want seen) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(), cmpopts.IgnoreUnexported(registry.ClusterState{}))
}
