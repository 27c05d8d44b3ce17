package doctor

import (
	"fmt"
	"slices"
	"strings"
)

func judgeFiles(f *Facts) []Finding {
	var found []Finding
	for _, c := range f.Configs {
		switch {
		case c.Err != nil:
			found = append(found, unknown("Is the program edge-sync or global-dns beside this one, or on the path?", "%s: %v", c.Path, c.Err))
		case len(c.Faults) > 0:
			for _, fault := range c.Faults {
				found = append(found, critical("Mend it: the daemon would not start with it.", "%s", fault))
			}
		default:
			found = append(found, healthy("%s has no fault, as a configuration of %s", c.Path, c.Daemon))
		}
	}
	return found
}

func judgeZone(f *Facts) []Finding {
	zone := f.View.View.Zone()
	if zone == nil {
		return []Finding{critical("Start a global-dns, which writes it, or run seamark zone apply.", "no zone record is on the stream: no replica is ready without it")}
	}
	var found []Finding
	for _, c := range f.Configs {
		if c.Zone != nil && !c.Zone.Equal(*zone) {
			found = append(found, warning("seamark zone diff shows how. Apply the file, or make it say what the record says: the record wins.", "the zone in %s is not the zone record", c.Path))
		}
	}
	if len(found) == 0 {
		found = append(found, healthy("the zone record is of %s", zone.Name))
	}
	return found
}

func judgeNames(f *Facts) []Finding {
	var found []Finding
	if f.View.View.Conflicts() > 0 {
		for _, n := range f.View.View.SortedNames() {
			for _, e := range n.Conflicting() {
				found = append(found, warning("Give one of them another name in the mesh: export.rename.", "%s and %s have one name in DNS: the first is answered", n.Entries[0].Key, e.Key))
			}
		}
	}
	if len(found) == 0 {
		found = append(found, healthy("no two of %s meet at one name", plural(f.View.View.Services(), "service", "services")))
	}
	return found
}

func judgePorts(f *Facts) []Finding {
	services := map[string][]string{} // by conflict
	for n := range f.View.View.Names() {
		for _, e := range n.Known() {
			for _, c := range f.View.View.PortConflicts(e) {
				services[c.String()] = append(services[c.String()], e.Key.String())
			}
		}
	}
	var found []Finding
	for _, conflict := range sortedKeys(services) {
		names := services[conflict]
		slices.Sort(names)
		of := strings.Join(names[:min(len(names), 3)], ", ")
		if len(names) > 3 {
			of += fmt.Sprintf(" and %d more", len(names)-3)
		}
		found = append(found, warning("Give the port one number in all clusters, or let clients ask for SRV.", "%s; of %s", conflict, of))
	}
	if len(found) == 0 {
		found = append(found, healthy("gateways of clusters with the same services agree on their ports"))
	}
	return found
}
