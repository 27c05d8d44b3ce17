package archive

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// manifest lists the sealed segments. As a file it is lines of JSON: the archive and
// what was dropped of it, one line per segment, and the SHA-256 of all lines before.
type manifest struct {
	Format   int     `json:"format"`
	Archive  string  `json:"archive"`
	Began    uint64  `json:"began"`   // see audit.Span
	Dropped  dropped `json:"dropped"` // by retention
	segments []sealed
}

// dropped is what retention has taken, from the beginning.
type dropped struct {
	Number uint64    `json:"number"` // of the last segment that was dropped; 0: none was
	Last   uint64    `json:"last"`   // its last sequence
	Time   time.Time `json:"time"`   // when that was stored
	Chain  string    `json:"chain"`  // the chain with it
}

// sealed is one segment.
type sealed struct {
	Number   uint64    `json:"number"`
	File     string    `json:"file"`
	First    uint64    `json:"first"`
	Last     uint64    `json:"last"`
	Begin    time.Time `json:"begin"`
	End      time.Time `json:"end"`
	Latest   time.Time `json:"latest"`
	Messages uint64    `json:"messages"`
	Bytes    int64     `json:"bytes"`
	Raw      int64     `json:"raw"`
	Digest   string    `json:"digest"` // SHA-256 of the file but for its last 32 bytes, which are this
	Chain    string    `json:"chain"`  // of all segments up to this one
	Gaps     []Gap     `json:"gaps,omitempty"`
	Break    *Break    `json:"break,omitempty"`
	Judged   *judged   `json:"judged,omitempty"`
}

const maxManifest = 256 << 20

func newManifest() manifest {
	return manifest{Format: version, Archive: strings.ToLower(rand.Text())}
}

// next is the number of the segment after the last.
func (m manifest) next() uint64 {
	if n := len(m.segments); n > 0 {
		return m.segments[n-1].Number + 1
	}
	return m.Dropped.Number + 1
}

// chain is that of all segments.
func (m manifest) chain() string {
	if n := len(m.segments); n > 0 {
		return m.segments[n-1].Chain
	}
	return m.Dropped.Chain
}

func (m manifest) encode() ([]byte, error) {
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	err := lines.Encode(m)
	for n := range m.segments {
		err = errors.Join(err, lines.Encode(m.segments[n]))
	}
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	sum := sha256.Sum256(out.Bytes())
	err = lines.Encode(map[string]string{"sha256": hex.EncodeToString(sum[:])})
	return out.Bytes(), err
}

// parseManifest reads a manifest: whole or not at all.
func parseManifest(content []byte) (manifest, error) {
	var m manifest
	lines := bytes.SplitAfter(content, []byte("\n"))
	if len(lines) < 3 || len(lines[len(lines)-1]) != 0 {
		return m, damaged("it is cut off")
	}
	var end struct {
		Sum string `json:"sha256"`
	}
	last := lines[len(lines)-2]
	sum := sha256.Sum256(content[:len(content)-len(last)])
	if err := json.Unmarshal(last, &end); err != nil || end.Sum != hex.EncodeToString(sum[:]) {
		return m, damaged("its checksum is wrong: it was not written to the end, or was changed since")
	}
	if err := json.Unmarshal(lines[0], &m); err != nil {
		return m, damaged("its first line can't be read: %w", err)
	}
	if m.Format != version {
		return m, fmt.Errorf("%w: it has version %d, this program reads %d: use the release that wrote it", ErrVersion, m.Format, version)
	}
	before := m.Dropped.Last
	for n, line := range lines[1 : len(lines)-2] {
		var s sealed
		if err := json.Unmarshal(line, &s); err != nil {
			return m, damaged("line %d can't be read: %w", n+2, err)
		}
		if s.Number < m.next() || s.First <= before || s.Last < s.First || s.File != name(s.Number, segmentSuffix) {
			return m, damaged("line %d does not follow the line before", n+2)
		}
		m.segments = append(m.segments, s)
		before = s.Last
	}
	return m, nil
}

// readManifest reads the manifest of a folder.
func readManifest(dir string) (manifest, error) {
	path := filepath.Join(dir, manifestName)
	about, err := os.Stat(path)
	if err != nil {
		return manifest{}, err
	}
	if !about.Mode().IsRegular() || about.Size() > maxManifest {
		return manifest{}, damaged("it is no file, or has %d bytes, more than %d", about.Size(), maxManifest)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return manifest{}, err
	}
	return parseManifest(content)
}

// loadManifest reads the manifest, or makes it anew from the segments when it is lost
// or damaged, and adds the segments that were sealed before a crash could be noted in it.
// Faults tells what was wrong. The error is [ErrNone], or what can't be read at all.
func loadManifest(dir string) (m manifest, faults []error, err error) {
	numbers, err := numbered(dir, segmentSuffix)
	if err != nil {
		return m, nil, err
	}
	tails, err := numbered(dir, tailSuffix)
	if err != nil {
		return m, nil, err
	}
	m, err = readManifest(dir)
	switch {
	case err == nil:
	case errors.Is(err, ErrVersion):
		return m, nil, err
	case len(numbers) == 0 && len(tails) == 0 && errors.Is(err, fs.ErrNotExist):
		return m, nil, ErrNone
	case errors.Is(err, errDamaged) || errors.Is(err, fs.ErrNotExist):
		faults = append(faults, fmt.Errorf("%s: %w: it is made anew from the segments", filepath.Join(dir, manifestName), err))
		m = manifest{Format: version}
		if len(numbers) > 0 {
			m.Dropped.Number = numbers[0] - 1
		} else if len(tails) > 0 {
			m.Dropped.Number = tails[0] - 1
		}
	default:
		return m, nil, err
	}
	for _, number := range numbers {
		if number < m.next() {
			continue
		}
		s, h, err := readSealed(dir, number)
		if err != nil && !errors.Is(err, errDamaged) && !errors.Is(err, fs.ErrNotExist) {
			return m, faults, err
		}
		if err == nil && len(m.segments) == 0 && m.Dropped.Last == 0 {
			m.Dropped = dropped{Number: number - 1, Chain: h.After}
		}
		switch {
		case err != nil:
		case number != m.next():
			faults = append(faults, fmt.Errorf("the segments %d to %d of %s are missing: restore them from a copy of the folder", m.next(), number-1, dir))
		case h.After != m.chain():
			faults = append(faults, fmt.Errorf("%s does not continue the chain: a segment before it was altered or replaced", filepath.Join(dir, s.File)))
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s is passed over: %w", filepath.Join(dir, name(number, segmentSuffix)), err))
			continue
		}
		s.Chain = chain(h.After, s.Digest)
		m.Archive, m.Began = h.Archive, h.Began
		m.segments = append(m.segments, s)
	}
	return m, faults, nil
}

// readSealed reads what a segment says of itself.
func readSealed(dir string, number uint64) (sealed, header, error) {
	file, err := os.Open(filepath.Join(dir, name(number, segmentSuffix)))
	if err != nil {
		return sealed{}, header{}, err
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		return sealed{}, header{}, err
	}
	h, _, err := readHeader(file)
	if err != nil {
		return sealed{}, h, err
	}
	if h.Number != number {
		return sealed{}, h, damaged("it is segment %d by its header", h.Number)
	}
	f, digest, err := readFooter(file, about.Size())
	if err != nil {
		return sealed{}, h, err
	}
	return sealed{
		Number: number, File: name(number, segmentSuffix), First: f.First, Last: f.Last, Begin: f.Begin, End: f.End, Latest: f.Latest,
		Messages: f.Messages, Bytes: about.Size(), Raw: f.Raw, Digest: digest, Gaps: f.Gaps, Break: h.Break,
		Judged: h.Judged,
	}, h, nil
}

// numbered returns the numbers of the files with a suffix, ascending.
func numbered(dir, suffix string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: there is no such folder", ErrNone, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	var numbers []uint64
	for _, e := range entries {
		stem, ours := strings.CutSuffix(e.Name(), suffix)
		number, err := strconv.ParseUint(stem, 10, 64)
		if ours && err == nil && number > 0 && e.Name() == name(number, suffix) {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
