package servers

import "path/filepath"

// CoreDNSVersion is the one that bench measures and that the test of docs/clients.md runs.
const CoreDNSVersion = "v1.14.2"

// CoreDNS returns where its program is kept, in the cache that [Build] uses. It is there
// only once bench has built it: that takes longer than all tests together.
func CoreDNS() (program string, err error) {
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "tools", "coredns-"+CoreDNSVersion, "coredns"), nil
}
