package signing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestUnusableSeedIsAFaultOfItsField(t *testing.T) {
	seed, _ := streamtest.UserKey(t)
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	other, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text string
		ok   bool
	}{
		"a seed":           {string(seed) + "\n", true},
		"a creds file":     {"-----BEGIN NATS USER JWT-----\neyJ0\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n", true},
		"an account's":     {string(other), false},
		"something else":   {"hello", false},
		"a damaged seed":   {string(seed[:len(seed)-2]) + "AA", false},
		"nothing is there": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "seed")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			faults := Section{SeedFile: config.Path(path)}.Unusable()
			if (len(faults) == 0) != test.ok {
				t.Fatalf("faults: %v", faults)
			}
			for _, f := range faults {
				if f.Field != "signing.seed_file" || test.text != "" && strings.Contains(f.Detail, test.text) {
					t.Errorf("fault %v", f)
				}
			}
		})
	}
	if faults := (Section{}).Unusable(); faults != nil {
		t.Errorf("no section: %v", faults)
	}
	if faults := (Section{SeedFile: "/nowhere"}).Unusable(); len(faults) != 1 {
		t.Errorf("no file: %v", faults)
	}
}
