package registry

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// NoteBrake is the kind of the [Note] by which an agent says what it holds back. There
// is one subject per cluster, so the latest note tells how things stand.
const NoteBrake = "brake"

// BrakeState says what became of a change that an agent held back.
type BrakeState string

// The values of [BrakeState]. Only the first two are open: something is held.
const (
	BrakeHeld     BrakeState = "held"     // it waits for a decision, or until it passes
	BrakeRejected BrakeState = "rejected" // by an order: what stood stands until the registry has it again
	BrakeApproved BrakeState = "approved" // by an order: withdrawn
	BrakePassed   BrakeState = "passed"   // nobody decided in time, or no brake was wanted any more: withdrawn
	BrakeLeft     BrakeState = "left"     // the cluster was ordered to leave: withdrawn
	BrakeReturned BrakeState = "returned" // the registry has it all again
)

// Open reports whether something is held.
func (s BrakeState) Open() bool { return s == BrakeHeld || s == BrakeRejected }

// Brake is a mass withdrawal that an agent holds back, as its [Note] tells it: what
// was deregistered goes on to stand as it was last known.
type Brake struct {
	ID      string // names it in an [Order]
	Content Digest // of the ids that are held: another agent knows by it that it holds the same
	State   BrakeState

	Services    int // of which something is held
	Instances   int // that are held
	OfServices  int // that the cluster had when it began
	OfInstances int // that it had then

	Since  time.Time // when it began, by the stream's clock
	Until  time.Time // when it passes by itself, likewise; zero: never
	By     string    // who decided
	Reason string    // and why
	Names  []string  // of the services, as <namespace>/<name>, sorted: the first few
}

// MaxBrakeNames bounds the names in a [Brake].
const MaxBrakeNames = 10

// Note returns the brake as a note with this sentence.
func (b Brake) Note(text string) Note {
	data := map[string]string{
		"id": b.ID, "content": b.Content.String(), "state": string(b.State),
		"services": strconv.Itoa(b.Services), "instances": strconv.Itoa(b.Instances),
		"of_services": strconv.Itoa(b.OfServices), "of_instances": strconv.Itoa(b.OfInstances),
		"since": b.Since.UTC().Format(time.RFC3339Nano), "policy": "hold",
	}
	if !b.Until.IsZero() {
		data["until"], data["policy"] = b.Until.UTC().Format(time.RFC3339Nano), "pass"
	}
	for key, value := range map[string]string{"by": b.By, "reason": b.Reason, "names": joinNames(b.Names)} {
		if value != "" {
			data[key] = clipTo(value, MaxMetaValue)
		}
	}
	return Note{Kind: NoteBrake, Text: text, Data: data}
}

// ParseBrake is the inverse of [Brake.Note]. The error, a [*Refusal], says that the note
// is none of a brake, or of one that this version does not understand.
func ParseBrake(n Note) (Brake, error) {
	if n.Kind != NoteBrake {
		return Brake{}, refuse("note", "a note of kind %q is none of a brake", clip(n.Kind))
	}
	b := Brake{ID: n.Data["id"], State: BrakeState(n.Data["state"]), By: n.Data["by"], Reason: n.Data["reason"]}
	bad := func(field string) (Brake, error) {
		return Brake{}, refuse("note", "the note of a brake has no usable %s: %q", field, clip(n.Data[field]))
	}
	if b.ID == "" || !isText(b.ID) {
		return bad("id")
	}
	if b.State == "" || !isText(n.Data["state"]) {
		return bad("state")
	}
	if err := b.Content.UnmarshalText([]byte(n.Data["content"])); err != nil {
		return bad("content")
	}
	for field, number := range map[string]*int{
		"services": &b.Services, "instances": &b.Instances, "of_services": &b.OfServices, "of_instances": &b.OfInstances,
	} {
		var err error
		if *number, err = strconv.Atoi(n.Data[field]); err != nil || *number < 0 {
			return bad(field)
		}
	}
	var err error
	if b.Since, err = time.Parse(time.RFC3339Nano, n.Data["since"]); err != nil {
		return bad("since")
	}
	if until, given := n.Data["until"]; given {
		if b.Until, err = time.Parse(time.RFC3339Nano, until); err != nil {
			return bad("until")
		}
	}
	if names := n.Data["names"]; names != "" {
		b.Names = strings.Split(names, namesBetween)
	}
	return b, nil
}

// namesBetween joins names. A name that has it in itself is shown as two, and only shown.
const namesBetween = ", "

// joinNames joins as many names as a note takes, whole.
func joinNames(names []string) string {
	text := ""
	for n, name := range names {
		if n == MaxBrakeNames || len(text)+len(namesBetween)+len(name) > MaxMetaValue {
			break
		}
		if n > 0 {
			text += namesBetween
		}
		text += name
	}
	return text
}

// clipTo shortens a text to at most this many bytes, at the border of a character.
func clipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
