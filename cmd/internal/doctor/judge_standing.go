package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Bounds for what stands.
const (
	longDrain  = 24 * time.Hour   // of one without an end
	lateEnd    = time.Minute      // of a drain that should have been lifted
	alarmsLast = time.Hour        // an alarm counts
	observerBy = 15 * time.Second // the lease of the observer, with a takeover
)

func judgeState(f *Facts) []Finding {
	var found []Finding
	up := 0
	for _, c := range f.present() {
		s := f.View.View.State(c.ID)
		if s == nil || s.State == registry.Up && len(s.Failing) == 0 {
			up++
			continue
		}
		since := fmt.Sprintf("%s: %s since %s: %s", c.ID, s.State, s.Since.UTC().Format("2006-01-02 15:04:05"), s.Reason)
		switch s.State {
		case registry.Down:
			found = append(found, critical("Look at the cluster's gateways and its agent; other clusters answer for it where they can.", "%s", since))
		case registry.Unreachable:
			found = append(found, critical("Look at the cluster's gateways, and at the way to them; other clusters answer for it where they can.", "%s", since))
		case registry.Stale:
			found = append(found, warning("Start the cluster's agent, or mend its way to NATS.", "%s", since))
		default:
			found = append(found, warning("Look at those gateways.", "%s: gateways that are not reached: %s", c.ID, strings.Join(s.Failing, ", ")))
		}
	}
	for _, s := range f.View.View.States() {
		if s.State == registry.Gone && f.View.View.Left(s.Cluster) == nil {
			found = append(found, warning("Start its agent to bring it back, or say with seamark leave that it is not coming back.", "%s counts as never heard of since %s: %s", s.Cluster, s.Since.UTC().Format("2006-01-02"), s.Reason))
		}
	}
	if len(found) == 0 && up > 0 {
		found = append(found, healthy("%s up", plural(up, "cluster is", "clusters are")))
	}
	return found
}

func judgeBrakes(f *Facts) []Finding {
	var found []Finding
	for _, n := range f.View.Notes {
		if n.Note.Kind != registry.NoteBrake {
			continue
		}
		b, err := registry.ParseBrake(n.Note)
		if err != nil {
			found = append(found, unknown("Is this command older than that agent? Update it.", "%s: what its brake holds can't be read: %v", n.Writer, err))
			continue
		}
		if !b.State.Open() {
			continue
		}
		what := fmt.Sprintf("%s: since %s, %d of %d instances and %d of %d services are deregistered, and are held back", n.Writer, b.Since.UTC().Format("2006-01-02 15:04:05"), b.Instances, b.OfInstances, b.Services, b.OfServices)
		if len(b.Names) > 0 {
			what += " (" + strings.Join(b.Names, ", ") + ")"
		}
		if b.State == registry.BrakeRejected {
			found = append(found, warning("Mend the registry; or seamark brake approve lets them go.", "%s: rejected by %s, so they are answered although the registry has them no more", what, b.By))
			continue
		}
		ends := "it stays so until somebody decides"
		if !b.Until.IsZero() {
			ends = "it passes at " + b.Until.UTC().Format("2006-01-02 15:04:05") + " unless somebody decides"
		}
		found = append(found, warning("Is it meant? seamark brake list shows it; seamark brake approve lets it pass, seamark brake reject keeps what stood.", "%s; %s", what, ends))
	}
	if len(found) == 0 {
		found = append(found, healthy("no mass withdrawal is held back"))
	}
	return found
}

func judgeOrders(f *Facts) []Finding {
	var found []Finding
	var stand []string
	for _, o := range f.View.View.Orders() {
		text := fmt.Sprintf("%s of %s by %s (%s)", o.Kind, o.Target, o.By, o.Reason)
		if o.Kind == registry.OrderLeave {
			stand = append(stand, text)
			continue
		}
		switch ends, known := o.Ends(); {
		case known && f.Streams.Now.Sub(ends) > lateEnd:
			found = append(found, warning("Does an observer lead? It lifts drains; else seamark undrain.", "%s should have ended at %s", text, ends.UTC().Format("2006-01-02 15:04:05")))
		case !known && f.age(o.Stored) > longDrain:
			found = append(found, warning("seamark undrain ends it.", "%s stands since %s and has no end", text, o.Stored.UTC().Format("2006-01-02 15:04")))
		case known:
			stand = append(stand, text+", until "+ends.UTC().Format("15:04:05"))
		default:
			stand = append(stand, text+", without an end")
		}
	}
	switch {
	case len(stand) > 0:
		slices.Sort(stand)
		found = append(found, healthy("these stand: %s", strings.Join(stand[:min(len(stand), 10)], "; ")))
	case len(found) == 0:
		found = append(found, healthy("nothing is drained and no cluster has left"))
	}
	return found
}

func judgeObserver(f *Facts) []Finding {
	var found []Finding
	leading := 0
	for _, r := range f.Readers {
		if r.Err != nil || !r.Status.Observer.Leading {
			continue
		}
		leading++
		if r.Status.Observer.Suspects {
			found = append(found, critical("Look at its network: most clusters would turn at once. Until then nothing new is withdrawn.", "%s is the observer and suspects itself", r.URL))
		}
		if blind := r.Status.Observer.Blind; blind != "" {
			found = append(found, warning("Wait a moment and look again; then look at its log.", "%s is the observer and can't judge: %s", r.URL, blind))
		}
	}
	lease, ok := f.Signs.Leases[registry.Observer]
	age := f.age(lease.Stored)
	switch {
	case leading > 1:
		found = append(found, warning("Wait a moment and look again: only the later epoch can write.", "%d replicas say that they are the observer", leading))
	case !ok:
		found = append(found, warning("Is observer.enabled false in every global-dns, or may none write mesh.v1._observer.>?", "no observer was ever heard of: which clusters are up, and the ends of drains, is decided by nobody"))
	case lease.Lease.Phase == registry.PhaseStopped, age > observerBy:
		found = append(found, warning("Does a global-dns run that has observer.enabled and may write mesh.v1._observer.>?", "nobody is the observer since %v (it was %s): which clusters are up, and the ends of drains, is decided by nobody", rounded(age), lease.Lease.Agent))
	}
	if len(found) == 0 {
		found = append(found, healthy("%s is the observer", lease.Lease.Agent))
	}
	return found
}

func judgeAlarms(f *Facts) []Finding {
	var found []Finding
	for _, n := range f.View.Notes {
		if n.Note.Kind == "alarm" && f.age(n.Stored) <= alarmsLast {
			found = append(found, warning("Look at what it names; it is shown for an hour.", "%v ago: %s", rounded(f.age(n.Stored)), n.Note.Text))
		}
	}
	if len(found) == 0 {
		found = append(found, healthy("no alarm of the observer in the last hour"))
	}
	return found
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
