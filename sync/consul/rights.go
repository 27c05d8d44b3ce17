package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// right is one question to /v1/internal/acl/authorize: may the token read that
// resource ("service" or "node")? An empty segment asks for all of them.
type right struct {
	Resource string
	Segment  string
	Access   string
}

// verdict is an element of the answer.
type verdict struct {
	right
	Allow bool
}

func mayRead(resource, segment string) right {
	return right{Resource: resource, Segment: segment, Access: "read"}
}

// maxRights is how many questions Consul takes at once.
const maxRights = 64

// authorize returns the rights that the token lacks, none where Consul enforces
// no ACLs. That is asked once a minute at most, because Consul logs it as an error.
func (c *client) authorize(ctx context.Context, s *Source, rights ...right) (lacking []right, err error) {
	if off := s.aclsOff.Load(); !c.acls.Load() && off != nil && time.Since(*off) < s.timing.rights/2 {
		return nil, nil
	}
	for batch := range slices.Chunk(rights, maxRights) {
		body, err := json.Marshal(batch)
		if err != nil {
			return nil, err
		}
		r, err := c.do(ctx, c.reads, http.MethodPost, "/v1/internal/acl/authorize", nil, body, s.timing.request)
		if status := new(statusError); errors.As(err, &status) && status.code == http.StatusUnauthorized && strings.Contains(status.text, "ACL support disabled") {
			now := time.Now()
			s.aclsOff.Store(&now)
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("testing the token's rights: %w", err)
		}
		c.acls.Store(true)
		var answers []verdict
		if err := json.Unmarshal(r.body, &answers); err != nil {
			return nil, fmt.Errorf("testing the token's rights: %w", err)
		}
		for _, asked := range batch {
			if !slices.Contains(answers, verdict{right: asked, Allow: true}) {
				lacking = append(lacking, asked)
			}
		}
	}
	return lacking, nil
}

var errLacksRights = errors.New("the token lacks rights")

// testRights is nil where the token can read all services and all nodes. Without
// that, an empty catalog would mean nothing.
func (c *client) testRights(ctx context.Context, s *Source) error {
	lacking, err := c.authorize(ctx, s, mayRead("service", ""), mayRead("node", ""))
	if err != nil {
		return err
	}
	if len(lacking) == 0 {
		return nil
	}
	var rules []string
	for _, r := range lacking {
		rules = append(rules, fmt.Sprintf(`%s_prefix "" { policy = "read" }`, r.Resource))
	}
	return fmt.Errorf("%w, so Consul may hide services from it: its policy needs %s", errLacksRights, strings.Join(rules, " and "))
}

// hidden returns which of the missing instances of a service the token may not
// see, so that their absence means nothing.
func (c *client) hidden(ctx context.Context, s *Source, name string, gone []mark) ([]mark, error) {
	service := mayRead("service", name)
	asked := map[right]bool{service: true}
	for _, m := range gone {
		asked[mayRead("node", m.node)] = true
	}
	lacking, err := c.authorize(ctx, s, slices.Collect(maps.Keys(asked))...)
	if err != nil || len(lacking) == 0 {
		return nil, err
	}
	denied := make(map[right]bool, len(lacking))
	for _, r := range lacking {
		denied[r] = true
	}
	return slices.DeleteFunc(slices.Clone(gone), func(m mark) bool {
		return !denied[service] && !denied[mayRead("node", m.node)]
	}), nil
}

func hiddenRefusal(name string, hidden []mark) *registry.Refusal {
	return &registry.Refusal{Reason: "hidden", Detail: fmt.Sprintf(
		"service %q: the token may no longer see %d of its instances (service or node is denied to it); they stand as last seen", clip(name), len(hidden))}
}
