package file

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SyntaxError says that a file is not YAML, or not one document of it.
type SyntaxError struct {
	Line   int // from 1; 0 when it is not known
	Detail string
}

// Error returns the line, where it is known, and the detail.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Detail
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Detail)
}

// ParseYAML returns the root of the only document in body; nil when there is
// none. Aliases are not followed and nothing is decoded, so that the tree is no
// larger than its text. The error is a [*SyntaxError]. The configuration of the
// commands is read with it too.
func ParseYAML(body []byte) (root *yaml.Node, err error) {
	defer func() { // the parser is not ours; a bug in it must not stop the agent
		if p := recover(); p != nil {
			err = &SyntaxError{Detail: fmt.Sprintf("this is not YAML: the parser gave up: %.256v", p)}
		}
	}()
	reader := yaml.NewDecoder(strings.NewReader(string(body)))
	var document, second yaml.Node
	switch err := reader.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, syntaxError(err)
	case len(document.Content) == 0:
		return nil, nil
	}
	if err := reader.Decode(&second); err == nil {
		return nil, &SyntaxError{Line: second.Line, Detail: "a second document begins here; write only one"}
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxError(err)
	}
	return document.Content[0], nil
}

var (
	yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)
	// These come from the half of the parser that counts lines from 0 in its messages.
	fromZero = regexp.MustCompile(`^did not find expected (<|node content|'-' indicator|key$|',' or)`)
	nowhere  = regexp.MustCompile(`^(unknown anchor|control characters|.*UTF-)`)
)

// syntaxError takes the parser's message apart.
func syntaxError(err error) *SyntaxError {
	m := yamlLine.FindStringSubmatch(err.Error())
	text := strings.TrimPrefix(err.Error(), m[0])
	line, _ := strconv.Atoi(m[1])
	switch {
	case nowhere.MatchString(text):
		line = 0
	case m[1] == "" || fromZero.MatchString(text): // it leaves out line 0
		line++
	}
	return &SyntaxError{Line: line, Detail: fmt.Sprintf("this is not YAML: %.256s", text)}
}
