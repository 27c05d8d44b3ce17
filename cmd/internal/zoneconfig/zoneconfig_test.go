package zoneconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/cmd/internal/zoneconfig"
)

// TestLoadLooksAtTheZoneOnly reads configurations of global-dns for their zone.
func TestLoadLooksAtTheZoneOnly(t *testing.T) {
	record, faults := zoneconfig.Load("../../../examples/global-dns.yaml")
	if len(faults) > 0 || record.Name != "mesh.internal." || len(record.Nameservers) != 1 || len(record.TTLByService) != 1 {
		t.Errorf("the example gives %+v, %v", record, faults)
	}
	path := filepath.Join(t.TempDir(), "dns.yaml")
	if err := os.WriteFile(path, []byte("zone: {name: eu.mesh, ttl: 2h}\nnats: {nonsense: [1]}\nzonne: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	record, faults = zoneconfig.Load(path)
	if len(faults) != 2 || faults[0].Field != "zone.ttl" || faults[0].Line != 1 || !strings.Contains(faults[1].Detail, "did you mean zone?") {
		t.Errorf("got %v", faults)
	}
	if record.Contact != "hostmaster.eu.mesh." {
		t.Errorf("the contact is %q", record.Contact)
	}
}
