package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/go/packages"
)

// The rules of the house. Each failure says which rule is broken; why it is one
// is in ARCHITECTURE.md, "The rooms", and CONTRIBUTING.md, "House rules".

const module = "github.com/seamark-mesh/seamark"

// room is what one folder, or with /... a tree of folders, may import.
type room struct {
	path string
	may  string // import paths or trees of them, separated by spaces; ours begin with a dot
}

// rooms is the table of ARCHITECTURE.md. The first line that fits a package
// counts. A room that is not built yet costs nothing.
var rooms = []room{
	{"registry", ""},
	{"registry/stream", "./registry github.com/nats-io/nats.go/..."},
	{"registry/stream/streamtest", "./registry ./registry/stream github.com/nats-io/nats.go/... github.com/nats-io/nats-server/v2/... github.com/nats-io/nkeys"},
	{"registry/checkpoint", "./registry github.com/klauspost/compress/zstd"},
	{"registry/election", "./registry github.com/cenkalti/backoff/v5"},
	{"registry/replica", "./registry ./registry/checkpoint github.com/cenkalti/backoff/v5"},
	{"api", "./registry"},
	{"liveness", "./registry"},
	{"liveness/observer", "./registry ./registry/election ./liveness github.com/cenkalti/backoff/v5"},
	{"dnsserver/batch", "golang.org/x/sys/unix"},
	{"dnsserver/...", "./registry ./dnsserver/... github.com/miekg/dns github.com/dchest/siphash"},
	{"liveness/probe", "./registry"},
	{"audit", "./registry ./registry/stream"},
	{"audit/chain", "./registry ./registry/stream github.com/nats-io/nkeys"},
	{"audit/archive", "./registry ./audit github.com/klauspost/compress/zstd"},
	{"audit/export", "./registry ./registry/stream ./audit github.com/klauspost/compress/zstd"},
	{"audit/replay", "./registry ./registry/stream ./audit ./dnsserver/..."},
	{"sync/edge", "./registry ./registry/election github.com/cenkalti/backoff/v5"},
	{"sync/consul", "./registry github.com/hashicorp/consul/api golang.org/x/sync/errgroup"},
	{"sync/nacos", "./registry github.com/nacos-group/nacos-sdk-go/v2/... google.golang.org/grpc/... google.golang.org/protobuf/..."}, // gRPC is the SDK's wire
	{"sync/file", "./registry github.com/fsnotify/fsnotify go.yaml.in/yaml/v3"},
	{"sync/sourcetest", "./registry go.uber.org/goleak"},
	{"cmd/...", "*"},
	{"e2e/...", "*"},
	{"bench", "*"},
	{"sim", "*"},
}

// forTests is what test files of every room may import besides.
const forTests = "./e2e/servers ./registry/stream/streamtest ./sync/sourcetest github.com/google/go-cmp/... go.uber.org/goleak " +
	"pgregory.net/rapid github.com/rogpeppe/go-internal/... golang.org/x/tools/..."

// testsOf names what the tests of a room may import beyond that, with the reason.
var testsOf = map[string]string{
	"sync/consul":       "./sync/edge", // the tests say that a Source is one
	"sync/nacos":        "./sync/edge google.golang.org/grpc/...",
	"sync/file":         "./sync/edge",
	"sync/sourcetest":   "./sync/edge",
	"sync/edge":         "./registry/stream ./registry/replica github.com/nats-io/...", // the protocol on a real stream
	"registry/stream":   "github.com/nats-io/...",
	"registry/replica":  "./registry/stream github.com/nats-io/...",
	"api":               "./registry/replica",
	"audit":             "./registry/stream ./registry/replica ./audit/... ./dnsserver/... github.com/nats-io/...",
	"audit/archive":     "./registry/stream ./registry/replica ./audit/... ./dnsserver/... github.com/nats-io/...",
	"audit/chain":       "./registry/stream ./registry/replica ./audit/... ./dnsserver/... github.com/nats-io/...",
	"audit/export":      "./registry/stream ./registry/replica ./audit/... ./dnsserver/... github.com/nats-io/...",
	"audit/replay":      "./registry/stream ./registry/replica ./audit/... ./dnsserver/... github.com/nats-io/...",
	"liveness/observer": "./registry/stream ./registry/replica github.com/nats-io/...", // the protocol on a real stream
	"dnsserver/...":     "golang.org/x/...",
}

// tests are the rooms that exist for tests only; their files count as test files.
var tests = []string{"registry/stream/streamtest", "sync/sourcetest", "dnsserver/lookup/lookuptest", "e2e/...", "bench", "sim"}

// source is one Go file of the module.
type source struct {
	path string // from the root, with slashes
	dir  string
	test bool
	text *ast.File
}

// sources returns every Go file, whatever its build constraints. Nobody may change them.
func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	module, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(module.all) < 20 {
		t.Fatalf("only %d Go files were found", len(module.all))
	}
	return module.files, module.all
}

type parsedModule struct {
	files *token.FileSet
	all   []source
}

var parsed = sync.OnceValues(parseModule)

func parseModule() (parsedModule, error) {
	root, files := filepath.Join(".."), token.NewFileSet()
	var all []source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		slashed, _ := filepath.Rel(root, name)
		slashed = filepath.ToSlash(slashed)
		if entry.IsDir() {
			if base := entry.Name(); base == "testdata" || base == "bin" || slashed != "." && strings.HasPrefix(base, ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := path.Dir(slashed)
		isTest := strings.HasSuffix(name, "_test.go") || slices.ContainsFunc(tests, func(tree string) bool { return covers(tree, dir) })
		all = append(all, source{path: slashed, dir: dir, test: isTest, text: text})
		return nil
	})
	return parsedModule{files, all}, err
}

// covers reports whether a path, or a tree of them that ends with /..., has p.
func covers(tree, p string) bool {
	stem, isTree := strings.CutSuffix(tree, "/...")
	return p == stem || isTree && strings.HasPrefix(p, stem+"/")
}

func allowed(list, imported string) bool {
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		imported = "./" + own
	}
	return slices.ContainsFunc(strings.Fields(list), func(tree string) bool { return tree == "*" || covers(tree, imported) })
}

func TestHouseImports(t *testing.T) {
	t.Parallel()
	_, all := sources(t)
	for _, s := range all {
		n := slices.IndexFunc(rooms, func(r room) bool { return covers(r.path, s.dir) })
		if n < 0 {
			t.Errorf("%s: the folder %s has no line in the table of rooms: give it one here and in ARCHITECTURE.md", s.path, s.dir)
			continue
		}
		for _, spec := range s.text.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(imported, "/")
			own := strings.HasPrefix(imported, module+"/")
			switch {
			case strings.HasPrefix(imported, module+"/cmd/") && !strings.HasPrefix(s.dir, "cmd/"):
				t.Errorf("%s imports %s: nobody imports a command", s.path, imported)
			case adapter(imported) != "" && adapter(module+"/"+s.dir) != "" && adapter(imported) != adapter(module+"/"+s.dir):
				t.Errorf("%s imports %s: adapters never see each other", s.path, imported)
			case !own && !strings.Contains(first, "."): // the standard library
			case own && imported == module+"/"+s.dir: // an external test of its own package
			case allowed(rooms[n].may, imported):
			case s.test && (allowed(forTests, imported) || allowed(testsOf[rooms[n].path], imported)):
			default:
				t.Errorf("%s imports %s: besides the standard library the room %s may import [%s] (ARCHITECTURE.md, \"The rooms\")", s.path, imported, rooms[n].path, rooms[n].may)
			}
		}
	}
}

// adapter returns which source a package belongs to; "" when to none.
func adapter(importPath string) string {
	for _, name := range []string{"consul", "nacos", "file"} {
		if covers(module+"/sync/"+name+"/...", importPath) {
			return name
		}
	}
	return ""
}

// The daemons speak to NATS; they do not contain it.
func TestHouseDaemonsDoNotContainAServer(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"cmd/edge-sync", "cmd/global-dns"} {
		loaded, err := packages.Load(&packages.Config{
			Context: t.Context(), Dir: "..", Mode: packages.NeedName | packages.NeedImports | packages.NeedDeps,
		}, "./"+command)
		if err != nil {
			t.Fatal(err)
		}
		packages.Visit(loaded, nil, func(p *packages.Package) {
			for _, e := range p.Errors {
				t.Errorf("%s: %v", p.PkgPath, e)
			}
			if p.PkgPath == "github.com/nats-io/nats-server/v2/server" {
				t.Errorf("%s depends on %s: only the demo and tests may embed a server", command, p.PkgPath)
			}
		})
	}
}

func TestHouseEveryPackageHasOneDoc(t *testing.T) {
	t.Parallel()
	_, all := sources(t)
	docs, folders := map[string][]string{}, map[string]bool{}
	for _, s := range all {
		if strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		folders[s.dir] = true
		if s.text.Doc != nil {
			docs[s.dir] = append(docs[s.dir], path.Base(s.path))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		if got := docs[dir]; !slices.Equal(got, []string{"doc.go"}) {
			t.Errorf("%s: the package's documentation is in %q: it stands in doc.go and nowhere else", dir, got)
		}
	}
}

// How long a file may be. Tables make the files of tests longer.
const (
	mostLines      = 500
	mostLinesTests = 600
)

func TestHouseFilesAreShort(t *testing.T) {
	t.Parallel()
	files, all := sources(t)
	for _, s := range all {
		most := mostLines
		if s.test {
			most = mostLinesTests
		}
		if n := files.File(s.text.FileStart).LineCount(); n > most {
			t.Errorf("%s has %d lines, more than %d: it holds more than one thing", s.path, n, most)
		}
	}
}

// packages by these names say nothing of what is in them; sync would shadow the standard library's.
var noNames = []string{"sync", "util", "utils", "helper", "helpers", "common", "misc", "types", "shared", "base"}

func TestHouseNoPackageIsNamedForNothing(t *testing.T) {
	t.Parallel()
	_, all := sources(t)
	for _, s := range all {
		if name := s.text.Name.Name; slices.Contains(noNames, name) || strings.HasPrefix(s.path, "sync/") && s.dir == "sync" {
			t.Errorf("%s: a package %s in %s: a name tells what a room is for, and the folder sync has no Go file of its own", s.path, name, s.dir)
		}
	}
}

func TestHouseNobodySleepsOrIsDeafToCancellation(t *testing.T) {
	t.Parallel()
	files, all := sources(t)
	for _, s := range all {
		if s.test {
			continue
		}
		isMain := strings.HasPrefix(s.dir, "cmd/") && path.Base(s.path) == "main.go"
		ast.Inspect(s.text, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			at := files.Position(call.Pos()).Line
			switch {
			case calls(s.text, call, "time", "Sleep"):
				t.Errorf("%s:%d: time.Sleep: wait with a timer and ctx.Done() in one select", s.path, at)
			case (calls(s.text, call, "context", "Background") || calls(s.text, call, "context", "TODO")) && !isMain:
				t.Errorf("%s:%d: context.%s: the context comes from main; for a shutdown use context.WithoutCancel and a timeout", s.path, at, call.Sel.Name)
			}
			return true
		})
	}
}

// calls reports whether a selector means this name of a package of the standard library.
func calls(file *ast.File, s *ast.SelectorExpr, pkg, name string) bool {
	x, ok := s.X.(*ast.Ident)
	if !ok || s.Sel.Name != name {
		return false
	}
	return slices.ContainsFunc(file.Imports, func(spec *ast.ImportSpec) bool {
		return spec.Path.Value == strconv.Quote(pkg) && (spec.Name == nil && x.Name == pkg || spec.Name != nil && x.Name == spec.Name.Name)
	})
}

func TestHouseNothingHappensAtImport(t *testing.T) {
	t.Parallel()
	files, all := sources(t)
	for _, s := range all {
		for _, d := range s.text.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s:%d: func init: what must happen is called by who needs it", s.path, files.Position(f.Pos()).Line)
			}
		}
		for _, spec := range s.text.Imports {
			if spec.Name != nil && (spec.Name.Name == "_" && spec.Path.Value != `"embed"` || spec.Name.Name == ".") {
				t.Errorf("%s:%d: import %s %s: imports are for names that are used", s.path, files.Position(spec.Pos()).Line, spec.Name.Name, spec.Path.Value)
			}
		}
	}
}

func TestHouseEveryExportedNameIsDocumented(t *testing.T) {
	t.Parallel()
	files, all := sources(t)
	for _, s := range all {
		if strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		for _, d := range s.text.Decls {
			for name, pos := range undocumented(d, !s.test) {
				t.Errorf("%s:%d: %s has no comment: it says shape, units, errors and the contract", s.path, files.Position(pos).Line, name)
			}
		}
	}
}

// undocumented returns the exported names of a declaration that nothing is said
// about. Error and String are what everybody knows; the one method of an interface
// may be told with its type.
func undocumented(d ast.Decl, methods bool) map[string]token.Pos {
	found := map[string]token.Pos{}
	switch d := d.(type) {
	case *ast.FuncDecl:
		known := d.Recv != nil && (d.Name.Name == "Error" || d.Name.Name == "String" || !ast.IsExported(receiver(d.Recv.List[0].Type)))
		if d.Name.IsExported() && d.Doc == nil && !known {
			found[d.Name.Name] = d.Pos()
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
					found[spec.Name.Name] = spec.Pos()
				}
				if i, ok := spec.Type.(*ast.InterfaceType); ok && methods && spec.Name.IsExported() && len(i.Methods.List) > 1 {
					for _, m := range i.Methods.List {
						if len(m.Names) > 0 && m.Names[0].IsExported() && m.Doc == nil && m.Comment == nil {
							found[fmt.Sprintf("%s.%s", spec.Name.Name, m.Names[0].Name)] = m.Pos()
						}
					}
				}
			case *ast.ValueSpec:
				for _, name := range spec.Names {
					if name.IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
						found[name.Name] = name.Pos()
					}
				}
			}
		}
	}
	return found
}

// receiver returns the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
