package signing

import (
	"fmt"
	"log/slog"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Section is the section signing.
type Section struct {
	SeedFile config.Path `yaml:"seed_file" help:"file with the seed of a user's NKey, or a NATS credentials file: what is published is signed with it"`
}

// Unusable tells what is wrong with the file on this machine.
func (s Section) Unusable() []config.Fault {
	if s.SeedFile == "" {
		return nil
	}
	if _, err := chain.ReadSigner(string(s.SeedFile)); err != nil {
		return []config.Fault{{Place: string(s.SeedFile), Field: "signing.seed_file", Detail: "can't be used: " + err.Error()}}
	}
	return nil
}

// Begin makes a connection sign all that is written through it on the events' stream, and
// says so; it does neither where there is no key to sign with.
func (s Section) Begin(conn *stream.Conn, logger *slog.Logger) error {
	if s.SeedFile == "" {
		return nil
	}
	signer, err := chain.ReadSigner(string(s.SeedFile))
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	conn.SignWith(signer)
	logger.Info("what is published is signed", "key", signer.Public())
	return nil
}
