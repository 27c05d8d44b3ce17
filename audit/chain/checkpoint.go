package chain

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// checkpointSchema is the version of a checkpoint's file.
const checkpointSchema = "seamark-checkpoint/1"

// Checkpoint is a statement of where the chains of some writers ended, to be kept where
// nobody who may write the stream can reach it. As a [stream.Link] stands for all that led
// to it, a later history that still has these messages, unbroken, was not rewritten before
// them. It is signed or not; unsigned it is as good as the place where it is kept.
type Checkpoint struct {
	Schema    string    `json:"schema"`
	Made      time.Time `json:"made"` // by the clock of who made it
	Heads     []Head    `json:"heads"`
	Began     uint64    `json:"began,omitempty"`             // the sequence with which the history began then
	Retention int64     `json:"retention_seconds,omitempty"` // how long the stream kept its messages then; 0: for ever, or not known
	Key       string    `json:"key,omitempty"`               // the public NKey that signed
	Signature string    `json:"signature,omitempty"`         // base64url without padding, over all else
}

// checkpointDomain begins what a checkpoint's signature is over; see [stream.Statement].
const checkpointDomain = "\xffseamark checkpoint 1\n"

// MakeCheckpoint states where the chains of a report end ([Report.Heads]). Signer may be nil.
// No head is an error.
func MakeCheckpoint(r Report, made time.Time, signer *Signer) (Checkpoint, error) {
	heads := r.Heads()
	if len(heads) == 0 {
		return Checkpoint{}, errors.New("no writer has a chain: there is nothing to state")
	}
	c := Checkpoint{Schema: checkpointSchema, Made: made.UTC().Truncate(time.Second), Heads: heads, Began: r.First, Retention: r.Retention}
	for n := range c.Heads {
		c.Heads[n].Stored = c.Heads[n].Stored.UTC()
	}
	if signer == nil {
		return c, nil
	}
	c.Key = signer.Public()
	statement, err := c.statement()
	if err != nil {
		return Checkpoint{}, err
	}
	signature, err := signer.Sign(statement)
	if err != nil {
		return Checkpoint{}, err
	}
	c.Signature = base64.RawURLEncoding.EncodeToString(signature)
	return c, nil
}

// statement is what the signature is over: the JSON of all but the signature itself.
func (c Checkpoint) statement() ([]byte, error) {
	c.Signature = ""
	text, err := json.Marshal(c)
	return append([]byte(checkpointDomain), text...), err
}

// Encode returns the file of a checkpoint.
func (c Checkpoint) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode a checkpoint: %w", err)
	}
	return append(text, '\n'), nil
}

const maxCheckpointFile = 16 << 20

// ReadCheckpoint reads the file of a checkpoint; see [ParseCheckpoint].
func ReadCheckpoint(path, by string) (Checkpoint, error) {
	text, err := readFile(path, maxCheckpointFile, "a checkpoint")
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := ParseCheckpoint(text, by)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ParseCheckpoint reads a checkpoint and checks its signature, if it has one. By is the
// public NKey that must have signed it; "": whoever did, or nobody.
func ParseCheckpoint(text []byte, by string) (Checkpoint, error) {
	var c Checkpoint
	if err := decodeFile(text, &c, "checkpoint"); err != nil { // a signature does not cover what else stands there
		return Checkpoint{}, err
	}
	if c.Schema != checkpointSchema {
		return Checkpoint{}, fmt.Errorf("the schema is %q, this version reads %q", clip(c.Schema), checkpointSchema)
	}
	for _, h := range c.Heads {
		if _, err := registry.ParseWriter(string(h.Writer)); err != nil || h.Sequence == 0 || h.Link == (stream.Link{}) {
			return Checkpoint{}, errors.New("this is no checkpoint: one of its heads names no message")
		}
	}
	if len(c.Heads) == 0 {
		return Checkpoint{}, errors.New("this is no checkpoint: it names no message")
	}
	switch {
	case by != "" && c.Key != by:
		return Checkpoint{}, fmt.Errorf("the checkpoint is signed by %q, not by %s", clip(c.Key), clip(by))
	case (c.Key == "") != (c.Signature == ""):
		return Checkpoint{}, errors.New("of the checkpoint's key and signature only one is there")
	case c.Key == "":
		return c, nil
	}
	raw, err := publicKey(c.Key)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%q is no public NKey of a user: %w", clip(c.Key), err)
	}
	statement, err := c.statement()
	if err != nil {
		return Checkpoint{}, err
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(c.Signature)
	if err != nil || !ed25519.Verify(raw, statement, signature) {
		return Checkpoint{}, fmt.Errorf("the checkpoint is not what %s signed", c.Key)
	}
	return c, nil
}

// Verdict says what became of a message that a checkpoint names.
type Verdict string

// The verdicts on a checkpoint's head.
const (
	Met       Verdict = "met"       // it stands where it stood: the history before it, as far as it is there and intact, was not rewritten since
	Moved     Verdict = "moved"     // it is there at another sequence: the stream was made anew, its writer's history was not rewritten
	Rewritten Verdict = "rewritten" // another message stands there
	Gone      Verdict = "gone"      // it is not there, although the history reaches back before it
	TooOld    Verdict = "aged_out"  // the history begins after it: nothing is proved
	NotRead   Verdict = "not_read"  // what was read ends before it, or begins after it: nothing is proved
)

// CheckpointWord is the verdict on one head of a checkpoint.
type CheckpointWord struct {
	Head    Head    `json:"head"`
	Made    string  `json:"made"` // the checkpoint, RFC 3339
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
}
