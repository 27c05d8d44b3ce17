package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Metrics of global-dns that tell what its status does not.
const (
	checkpointAge     = "seamark_checkpoint_age_seconds"
	checkpointFailing = "seamark_checkpoint_failing" // told where checkpoints are wanted
	viewCutOff        = "seamark_view_cut_off"
	clustersInherited = "seamark_clusters_inherited"
	oldCheckpoint     = 15 * time.Minute // one is written every ten minutes at least
)

// answering returns the readers that answered.
func (f *Facts) answering() []Reader {
	return slices.DeleteFunc(slices.Clone(f.Readers), func(r Reader) bool { return r.Err != nil })
}

func judgeReady(f *Facts) []Finding {
	var found []Finding
	versions := map[string][]string{}
	for _, r := range f.Readers {
		switch {
		case r.Err != nil:
			found = append(found, critical("Does it run, and is --server (SEAMARK_SERVER) its http address?", "%s: %v", r.URL, r.Err))
		case !r.Ready:
			found = append(found, critical("It answers SERVFAIL until it is: look at its log, and at its way to NATS.", "%s is not ready: %s", r.URL, r.Said))
		}
		if r.Err == nil {
			versions[r.Status.Version] = append(versions[r.Status.Version], r.URL)
		}
	}
	if len(versions) > 1 {
		var each []string
		for _, v := range sortedKeys(versions) {
			each = append(each, fmt.Sprintf("%s (%s)", v, strings.Join(versions[v], ", ")))
		}
		found = append(found, warning("Finish the update.", "replicas of different versions run: %s", strings.Join(each, "; ")))
	}
	if len(found) == 0 && len(f.Readers) > 0 {
		found = append(found, healthy("%s ready", plural(len(f.Readers), "replica is", "replicas are")))
	}
	return found
}

func judgeLag(f *Facts) []Finding {
	var found []Finding
	s := f.Streams.Events
	level := 0
	for _, r := range f.answering() {
		switch {
		case s.Name == "":
		case f.Streams.After > 0 && r.Sequence > f.Streams.After:
			found = append(found, critical("The stream was recreated, restored or cut short. Agents publish all they have again; see docs/operations.md.", "%s has read up to %d, but the stream ends at %d: it has lost what was stored last", r.URL, r.Sequence, f.Streams.After))
		case r.Sequence < s.Last:
			found = append(found, critical("Look at its log and its way to NATS.", "%s is %d messages behind the stream, and did not come closer than that within %v", r.URL, s.Last-r.Sequence, catchUp))
		default:
			level++
		}
	}
	if len(found) == 0 && level > 0 {
		found = append(found, healthy("%s as far as the stream, at sequence %d", plural(level, "replica is", "replicas are"), s.Last))
	}
	return found
}

func judgeSerials(f *Facts) []Finding {
	readers := f.answering()
	if len(readers) < 2 {
		return nil
	}
	least := slices.MinFunc(readers, compareSequence)
	most := slices.MaxFunc(readers, compareSequence)
	zones := map[string]string{}
	for _, r := range readers {
		zones[r.Status.Zone] = r.URL
	}
	switch {
	case len(zones) > 1:
		return []Finding{critical("They belong to different meshes, or one can't read the zone record.", "replicas serve different zones: %s", strings.Join(sortedKeys(zones), ", "))}
	case f.Streams.Err == nil && f.NATS.Err == nil && f.Streams.Events.Name != "" && least.Sequence >= f.Streams.Events.Last:
		return []Finding{healthy("%d replicas have the same serial, but for what is on its way", len(readers))}
	case least.Sequence == most.Sequence:
		return []Finding{healthy("%d replicas have the same serial, %d", len(readers), uint32(least.Sequence))}
	case f.Streams.Err != nil || f.NATS.Err != nil:
		return []Finding{warning("While NATS is away this does not mend itself: ask the replicas that are ahead.", "replicas have different serials: %d (%s) and %d (%s)", uint32(least.Sequence), least.URL, uint32(most.Sequence), most.URL)}
	}
	return []Finding{warning("Look at the one that is behind.", "replicas have different serials: %d (%s) and %d (%s)", uint32(least.Sequence), least.URL, uint32(most.Sequence), most.URL)}
}

func compareSequence(a, b Reader) int {
	switch {
	case a.Sequence < b.Sequence:
		return -1
	case a.Sequence > b.Sequence:
		return 1
	}
	return 0
}

const cutOffFix = "Mend its way to NATS: it answers with what it knew last."

// judgeCutOff finds replicas that can't know whether what they answer still holds: they
// say so in every answer.
func judgeCutOff(f *Facts) []Finding {
	var found []Finding
	whole := 0
	for _, r := range f.answering() {
		if cut, told := r.Metrics[viewCutOff]; told && cut > 0 {
			found = append(found, warning(cutOffFix, "%s: %s", r.URL, r.Said))
		} else if told {
			whole++
		}
	}
	for _, s := range f.DNS {
		for _, protocol := range sortedKeys(s.SOA) {
			a := s.SOA[protocol]
			if a.Err != nil {
				continue
			}
			if stale := slices.IndexFunc(a.Extended, isStale); stale >= 0 {
				found = append(found, warning(cutOffFix, "%s: %s", s.Address, a.Extended[stale]))
			} else {
				whole++
			}
			break
		}
	}
	if len(found) == 0 && whole > 0 {
		found = append(found, healthy("none says that it is cut off from the stream"))
	}
	return found
}

// isStale recognises an extended error 3 (Stale Answer, RFC 8914 §4.4).
func isStale(extended string) bool { return strings.HasPrefix(extended, "3 ") }

func judgeCheckpoint(f *Facts) []Finding {
	const fix = "Look at its log: is the disk full, or read-only?"
	var found, without []Finding
	young := 0
	for _, r := range f.answering() {
		age, written := r.Metrics[checkpointAge]
		failing, wanted := r.Metrics[checkpointFailing]
		_, told := r.Metrics[viewCutOff] // every replica has it: else its metrics can't be read
		loses := "it would know nothing"
		if written {
			loses = fmt.Sprintf("it would answer what it knew %v ago", rounded(seconds(age)))
		}
		switch {
		case !told:
		case failing > 0 && r.Metrics[viewCutOff] > 0:
			found = append(found, critical(fix+" Do not restart it before.", "%s can write no checkpoint, and is cut off from the stream: restarted now, %s", r.URL, loses))
		case failing > 0:
			found = append(found, warning(fix, "%s can write no checkpoint: restarted while NATS is away, %s", r.URL, loses))
		case written && seconds(age) > oldCheckpoint:
			found = append(found, warning(fix, "%s has written its latest checkpoint %v ago", r.URL, rounded(seconds(age))))
		case written:
			young++
		case wanted:
			without = append(without, healthy("%s has written no checkpoint yet", r.URL))
		default:
			none := healthy("%s keeps no checkpoint, as configured: restarted while NATS is away, it knows nothing", r.URL)
			none.Fix = "With checkpoint.path it would answer from the file at once."
			without = append(without, none)
		}
	}
	if len(found) == 0 && young > 0 {
		found = append(found, healthy("%s young", plural(young, "checkpoint is", "checkpoints are")))
	}
	return append(found, without...)
}
