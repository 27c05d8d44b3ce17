package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// Status is how well something is.
type Status string

// The values of [Status].
const (
	Healthy  Status = "Healthy"
	Warning  Status = "Warning"  // it works, with less margin than it should have, or somebody has to look
	Critical Status = "Critical" // answers are wrong, old or missing, or will be soon
	Unknown  Status = "Unknown"  // it could not be learnt
)

// severity orders statuses: the worst is the highest. Unknown is no better than a warning.
func (s Status) severity() int {
	switch s {
	case Healthy:
		return 0
	case Unknown:
		return 1
	case Warning:
		return 2
	}
	return 3
}

// ExitCode returns the exit code of the command: 0 for Healthy, 1 for Warning and
// Unknown, 2 for Critical.
func (s Status) ExitCode() int { return []int{0, 1, 1, 2}[s.severity()] }

// Category is what part of the mesh a check looks at.
type Category string

// The categories, in the order in which they are shown.
const (
	NATS          Category = "nats"
	Clusters      Category = "clusters"
	Readers       Category = "readers"
	DNS           Category = "dns"
	Gateways      Category = "gateways"
	Credentials   Category = "credentials"
	Clocks        Category = "clocks"
	Configuration Category = "configuration"
)

// Categories returns all categories, in the order in which they are shown.
func Categories() []Category {
	return []Category{NATS, Clusters, Readers, DNS, Gateways, Credentials, Clocks, Configuration}
}

// ParseCategory accepts the name of a category.
func ParseCategory(s string) (Category, error) {
	if !slices.Contains(Categories(), Category(s)) {
		return "", fmt.Errorf("%q is no category: use one of %v", s, Categories())
	}
	return Category(s), nil
}

// Finding is what one check says.
type Finding struct {
	Category    Category `json:"category"`
	Check       string   `json:"check"` // its name, unique within the category
	Status      Status   `json:"status"`
	Description string   `json:"description"`   // a sentence
	Fix         string   `json:"fix,omitempty"` // what to do; never empty for a Warning or a Critical
}

// Report is the result of an examination.
type Report struct {
	Status   Status    `json:"status"` // the worst of the findings
	Findings []Finding `json:"findings"`
	// NotAsked says what was not looked at, because nobody asked for it, and how to ask.
	NotAsked []string `json:"not_asked"`
}

// Count returns how many findings have a status.
func (r Report) Count(s Status) int {
	count := 0
	for _, f := range r.Findings {
		if f.Status == s {
			count++
		}
	}
	return count
}

// worst returns the worst status; Healthy when there is none.
func worst(findings []Finding) Status {
	status := Healthy
	for _, f := range findings {
		if f.Status.severity() > status.severity() {
			status = f.Status
		}
	}
	return status
}

// mostFindings bounds what one check says.
const mostFindings = 20

// bounded shortens what a check says to the worst of its findings. It keeps their order.
func bounded(findings []Finding) []Finding {
	if len(findings) <= mostFindings {
		return findings
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(b.Status.severity(), a.Status.severity()) })
	rest := findings[mostFindings-1:]
	return append(findings[:mostFindings-1:mostFindings-1], Finding{
		Status: worst(rest), Description: fmt.Sprintf("and %d more of this kind", len(rest)), Fix: rest[0].Fix,
	})
}

func healthy(format string, args ...any) Finding {
	return Finding{Status: Healthy, Description: fmt.Sprintf(format, args...)}
}

func warning(fix, format string, args ...any) Finding {
	return Finding{Status: Warning, Fix: fix, Description: fmt.Sprintf(format, args...)}
}

func critical(fix, format string, args ...any) Finding {
	return Finding{Status: Critical, Fix: fix, Description: fmt.Sprintf(format, args...)}
}

func unknown(fix, format string, args ...any) Finding {
	return Finding{Status: Unknown, Fix: fix, Description: fmt.Sprintf(format, args...)}
}
