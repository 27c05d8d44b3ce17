package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// pages returns every Markdown file of the repository, relative to its root.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "seamark-demo"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			page, err := filepath.Rel("..", path)
			found = append(found, page)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 3 {
		t.Fatalf("only %v are Markdown", found)
	}
	return found
}

// codeBlock is what stands in a fence, or is indented, in a page.
type codeBlock struct {
	page, language, text string
}

// split takes the code blocks out of a page and returns them and the rest.
func split(t *testing.T, page string) (blocks []codeBlock, prose string) {
	t.Helper()
	var rest, block []string
	fence, language := "", ""
	end := func() {
		if len(block) > 0 {
			blocks = append(blocks, codeBlock{page: page, language: language, text: strings.Join(block, "\n")})
		}
		block, fence, language = nil, "", ""
	}
	blank := true
	for line := range strings.Lines(readText(t, filepath.Join("..", page))) {
		line = strings.TrimSuffix(line, "\n")
		trimmed := strings.TrimSpace(line)
		indented := strings.HasPrefix(line, "    ") && (blank || len(block) > 0)
		switch {
		case fence != "" && trimmed == fence:
			end()
		case fence != "":
			block = append(block, line)
		case strings.HasPrefix(trimmed, "```"):
			end()
			fence, language = "```", trimmed[3:]
		case indented:
			block = append(block, line[4:])
		case trimmed != "" || len(block) == 0:
			end()
			rest = append(rest, line)
		}
		blank = trimmed == ""
	}
	end()
	return blocks, strings.Join(rest, "\n")
}

var (
	inlineCode = regexp.MustCompile("`([^`]+)`")
	// commandLine finds one of the programs with what follows it, in a line of shell
	// or of a unit file.
	commandLine = regexp.MustCompile(`^(?:\$ |sudo |ExecStart=|[A-Z_]+=\S+ |/[a-z/]+/)*(seamark|edge-sync|global-dns)(?:$| (.*))`)
	lineEnd     = regexp.MustCompile(`\s*(\s#|[|;>]|&&|…).*$`)
)

// commandLines returns the command lines of a page, words separated by NUL; true
// for those in a block, which are whole, false for those that the text mentions.
func commandLines(t *testing.T, page string) map[string]bool {
	t.Helper()
	blocks, prose := split(t, page)
	found := map[string]bool{}
	add := func(line string, whole bool) {
		m := commandLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			return
		}
		if words := strings.Fields(lineEnd.ReplaceAllString(m[2], "")); len(words) > 0 { // more than the name alone
			line := strings.Join(append([]string{m[1]}, words...), "\x00")
			found[line] = found[line] || whole
		}
	}
	for _, b := range blocks {
		if strings.Contains(b.text, "──") || b.language == "text" {
			continue // a picture
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(b.text, "\\\n", " "), "\n") {
			add(line, true)
		}
	}
	for _, m := range inlineCode.FindAllStringSubmatch(prose, -1) {
		add(strings.Join(strings.Fields(m[1]), " "), false)
	}
	return found
}

// TestDocumentedCommands asks the real programs for the help of every command line in
// the documents: an unknown command, flag or value is refused, and the help tells
// how many arguments there may be.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	seen, whole := map[string]string{}, map[string]bool{}
	for _, page := range pages(t) {
		for line, inBlock := range commandLines(t, page) {
			seen[line], whole[line] = page, whole[line] || inBlock
		}
	}
	if len(seen) < 20 {
		t.Errorf("the documents have only %d command lines", len(seen))
	}
	var wg sync.WaitGroup
	turn := make(chan struct{}, 4)
	for line, page := range seen {
		words := strings.Split(line, "\x00")
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			if wrong := wrongWith(dir, words, whole[line]); wrong != "" {
				t.Errorf("%s: %q: %s", page, strings.Join(words, " "), wrong)
			}
		})
	}
	wg.Wait()
}

var (
	usageLine = regexp.MustCompile(`(?m)^  ((?:seamark|edge-sync|global-dns).*)$`)
	optional  = regexp.MustCompile(`^\[[A-Z/]+\]$`)
)

// wrongWith tells what is wrong with a command line; "" when nothing is. One that is
// not whole may lack its arguments.
func wrongWith(dir string, words []string, whole bool) string {
	if slices.Equal(words[1:], []string{"--version"}) {
		return ""
	}
	command := exec.Command(filepath.Join(dir, words[0]), append(slices.Clone(words[1:]), "--help")...)
	command.Env = []string{}
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out)
	}
	usage := usageLine.FindSubmatch(out)
	if usage == nil {
		return "its help has no usage"
	}
	path, least, most := 0, 0, 0
	for word := range strings.FieldsSeq(string(usage[1])) {
		switch {
		case word == "[flags]", word == "[command]":
		case optional.MatchString(word):
			most++
		case word == strings.ToUpper(word):
			least, most = least+1, most+1
		default:
			path++
		}
	}
	given := 0
	for n := 0; n < len(words); n++ {
		switch {
		case !strings.HasPrefix(words[n], "-"):
			given++
		case !strings.Contains(words[n], "=") && takesValue(string(out), words[n]):
			n++
		}
	}
	if given -= path; given > most || given < least && (whole || given > 0) {
		return "it has " + strings.Join(words, " ") + ", but the usage is " + string(usage[1])
	}
	return ""
}

// takesValue reports whether a flag is followed by a value, as a help text tells.
func takesValue(help, flag string) bool {
	m := regexp.MustCompile(`(?m)^\s+(?:-\w, )?` + regexp.QuoteMeta(flag) + `( \S+)?\s{2,}`).FindStringSubmatch(help)
	if m == nil { // in its short form
		m = regexp.MustCompile(`(?m)^\s+` + regexp.QuoteMeta(flag) + `, --\S+( \S+)?\s{2,}`).FindStringSubmatch(help)
	}
	return m != nil && m[1] != ""
}

// TestDocumentedConfigurations checks every whole configuration in the documents:
// those whose first line names its file.
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]int{}
	for _, page := range pages(t) {
		blocks, _ := split(t, page)
		for _, b := range blocks {
			name := regexp.MustCompile(`^# (edge-sync|global-dns)\.yaml\n`).FindStringSubmatch(b.text)
			if name == nil {
				continue
			}
			checked[name[1]]++
			file := filepath.Join(t.TempDir(), name[1]+".yaml")
			if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(filepath.Join(dir, name[1]), "check", "--skip-files", "--config", file).CombinedOutput(); err != nil {
				t.Errorf("%s: %s check: %v\n%s", page, name[1], err, out)
			}
		}
	}
	if checked["edge-sync"] < 2 || checked["global-dns"] < 1 {
		t.Errorf("the documents have %v whole configurations", checked)
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	anchor  = regexp.MustCompile(`<a id="([^"]+)">`)
)

// TestDocumentedLinks follows every relative link of every page, to its file and to
// its heading.
func TestDocumentedLinks(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		_, prose := split(t, page)
		for _, m := range link.FindAllStringSubmatch(inlineCode.ReplaceAllString(prose, ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, fragment, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(filepath.Join("..", target)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
				continue
			}
			if fragment != "" && !slices.Contains(anchors(t, target), fragment) {
				t.Errorf("%s links to %s, but %s has no such heading", page, m[1], target)
			}
		}
	}
	for _, page := range pages(t) {
		for _, m := range regexp.MustCompile("`make ([a-z]+)`|(?m)^    make ([a-z]+)").FindAllStringSubmatch(readText(t, filepath.Join("..", page)), -1) {
			if target := m[1] + m[2]; !strings.Contains(readText(t, "../Makefile"), "\n"+target+":") {
				t.Errorf("%s names make %s, which the Makefile has not", page, target)
			}
		}
	}
}

// anchors returns the places of a page that a link can name, as GitHub makes them
// of its headings.
func anchors(t *testing.T, page string) []string {
	t.Helper()
	_, prose := split(t, page)
	var all []string
	for _, m := range heading.FindAllStringSubmatch(prose, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
				return r
			}
			return -1
		}, strings.ToLower(m[1]))
		all = append(all, name)
	}
	for _, m := range anchor.FindAllStringSubmatch(prose, -1) {
		all = append(all, m[1])
	}
	return all
}
