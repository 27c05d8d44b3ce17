package compose

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// root is the repository's, from this package.
var root = filepath.Join("..", "..")

// nacosAddress is that of docker-compose.yml.
const nacosAddress = "10.153.3.10"

// standInImages are the images of override.yml, Go first: the Dockerfile starts from it.
var standInImages = []string{"go", "busybox", "caddy", "consul", "nacos", "nats"}

// standIns fills a directory with one build context for each stand-in image and returns it.
func standIns(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(path string, mode fs.FileMode, text string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		giveUp(t, "no program busybox on the PATH")
	}
	if interpreter(t, busybox) {
		giveUp(t, busybox+" is not static")
	}
	built := func(name string) string {
		t.Helper()
		at, err := servers.Build(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}

	put("busybox/Dockerfile", 0o644, "FROM scratch\nCOPY . /\nCMD [\"sh\"]\n")
	applets := []string{"sh", "wget", "timeout", "sleep", "date", "echo", "nslookup", "wc", "cp", "mkdir"}
	shell(t, dir, busybox, "busybox", applets)

	put("consul/Dockerfile", 0o644, "FROM scratch\nCOPY consul /bin/consul\nENTRYPOINT [\"/bin/consul\"]\n")
	copyFile(t, filepath.Join(built("consul"), "consul"), filepath.Join(dir, "consul", "consul"))

	put("nats/Dockerfile", 0o644, "FROM scratch\nCOPY nats-server /nats-server\nENTRYPOINT [\"/nats-server\"]\n")
	copyFile(t, filepath.Join(built("nats"), "nats-server"), filepath.Join(dir, "nats", "nats-server"))

	put("caddy/Dockerfile", 0o644, "FROM scratch\nENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config PATH=/usr/bin\nCOPY caddy /usr/bin/caddy\n")
	copyFile(t, buildCaddy(t), filepath.Join(dir, "caddy", "caddy"))

	nacos(t, dir, built("nacos"), put)

	// The Go image: its go has all it is asked for, and does not compile. It looks whether it could.
	put("go/Dockerfile", 0o644, "FROM scratch\nCOPY . /\nENV PATH=/bin\n")
	shell(t, dir, busybox, "go", applets)
	put("go/bin/go", 0o755, goStandIn)
	put("go/sources", 0o644, strings.Join(sources(t), "\n")+"\n")
	put("go/etc/ssl/certs/ca-certificates.crt", 0o644, "")
	binaries := filepath.Join(dir, "go", "binaries") + string(filepath.Separator)
	if err := os.MkdirAll(binaries, 0o755); err != nil {
		t.Fatal(err)
	}
	goBuild(t, root, binaries, "./cmd/edge-sync", "./cmd/global-dns")
	return dir
}

// goStandIn is the program go of the stand-in for the Go image.
const goStandIn = `#!/bin/sh
set -e
case "$1" in
mod) test -f go.mod && test -f go.sum ;;
build)
	while read -r file; do
		test -f "$file" || { echo "the build needs $file, and .dockerignore keeps it out" >&2; exit 1; }
	done </sources
	mkdir -p /out && cp /binaries/* /out/ ;;
*) exit 1 ;;
esac
`

// sources are the files of this repository that the images are built from.
func sources(t *testing.T) []string {
	t.Helper()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := packages.Load(&packages.Config{
		Context: t.Context(), Dir: root, Env: append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux"),
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedEmbedFiles | packages.NeedImports | packages.NeedDeps | packages.NeedModule,
	}, "./cmd/edge-sync", "./cmd/global-dns")
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"go.mod", "go.sum"}
	packages.Visit(loaded, nil, func(p *packages.Package) {
		if p.Module == nil || !p.Module.Main {
			return
		}
		for _, file := range slices.Concat(p.GoFiles, p.OtherFiles, p.EmbedFiles) {
			within, err := filepath.Rel(top, file)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, within)
		}
	})
	if len(files) < 50 {
		t.Fatalf("only %q are said to be needed", files)
	}
	return files
}

// shell puts a busybox and its applets into bin of a build context.
func shell(t *testing.T, dir, busybox, image string, applets []string) {
	t.Helper()
	bin := filepath.Join(dir, image, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, busybox, filepath.Join(bin, "busybox"))
	for _, name := range applets {
		if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// javaModules are what Nacos uses of the Java runtime.
const javaModules = "java.se,jdk.unsupported,jdk.crypto.ec,jdk.management,jdk.naming.dns,jdk.net,jdk.zipfs,jdk.httpserver,jdk.localedata"

// nacos makes the build context of Nacos: a Java runtime, the C libraries it is linked with, and the server.
func nacos(t *testing.T, dir, built string, put func(string, fs.FileMode, string)) {
	t.Helper()
	jlink, err := exec.LookPath("jlink")
	if err != nil {
		giveUp(t, "no program jlink on the PATH")
	}
	context := filepath.Join(dir, "nacos")
	if err := os.MkdirAll(context, 0o755); err != nil {
		t.Fatal(err)
	}
	home, err := filepath.EvalSymlinks(jlink)
	if err != nil {
		t.Fatal(err)
	}
	release := filepath.Join(filepath.Dir(filepath.Dir(home)), "release") // which Java it is
	java := cached(t, "java-"+hash(t, release)+"-"+javaModules, func(out string) error {
		return command(t, "", nil, jlink, "--output", out, "--add-modules", javaModules, "--strip-debug", "--no-header-files", "--no-man-pages")
	})
	copyTree(t, java, filepath.Join(context, "java"))
	copyTree(t, filepath.Join(built, "classes"), filepath.Join(context, "nacos", "classes"))
	copyTree(t, filepath.Join(built, "lib"), filepath.Join(context, "nacos", "lib"))
	libraries := map[string]bool{}
	for _, path := range append(rocksDB(t, built), filepath.Join(java, "bin", "java"), filepath.Join(java, "lib", "server", "libjvm.so"),
		filepath.Join(java, "lib", "libnet.so"), filepath.Join(java, "lib", "libnio.so"), filepath.Join(java, "lib", "libzip.so")) {
		for _, library := range linkedWith(t, path) {
			libraries[library] = true
		}
	}
	for library := range libraries {
		if !strings.HasPrefix(library, java) {
			copyFile(t, library, filepath.Join(context, library))
		}
	}
	put("nacos/etc/nsswitch.conf", 0o644, "hosts: files dns\n")
	put("nacos/tmp/.keep", 0o644, "")
	put("nacos/Dockerfile", 0o644, "FROM scratch\nCOPY . /\nENTRYPOINT "+quoted(
		"/java/bin/java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.home=/home", "-Dnacos.home=/home",
		"-Dnacos.standalone=true", "-Dnacos.functionMode=naming", "-Dnacos.server.ip="+nacosAddress,
		"-cp", "/nacos/classes:/nacos/lib/hessian-4.0.63.jar:/nacos/lib/*", "dev.seamark.e2e.NacosServer", "--server.port=8848")+"\n")
}

// rocksDB unpacks the native library that Nacos keeps its log with, so that what it is linked with can be seen.
func rocksDB(t *testing.T, built string) []string {
	t.Helper()
	jars, err := filepath.Glob(filepath.Join(built, "lib", "rocksdbjni-*.jar"))
	if err != nil || len(jars) != 1 {
		t.Fatalf("Nacos has %q of RocksDB's jar (%v)", jars, err)
	}
	jar, err := zip.OpenReader(jars[0])
	if err != nil {
		t.Fatal(err)
	}
	defer jar.Close()
	name := map[string]string{"amd64": "librocksdbjni-linux64.so", "arm64": "librocksdbjni-linux-aarch64.so"}[runtime.GOARCH]
	text, err := fs.ReadFile(jar, name)
	if err != nil {
		giveUp(t, fmt.Sprintf("Nacos's RocksDB is not made for this machine: %v", err))
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{path}
}

// linkedWith returns the shared libraries that a program or library is linked with, the loader among them.
func linkedWith(t *testing.T, path string) []string {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), "ldd", path).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", path, err)
	}
	var all []string
	for word := range strings.FieldsSeq(string(text)) {
		if strings.HasPrefix(word, "/") && !strings.HasSuffix(word, ":") {
			all = append(all, word)
		}
	}
	return all
}

// interpreter says whether a program needs a loader, so is not static.
func interpreter(t *testing.T, path string) bool {
	t.Helper()
	text, _ := exec.CommandContext(t.Context(), "ldd", path).CombinedOutput() // fails for a static one
	return strings.Contains(string(text), "=>")
}

// buildCaddy returns the path of a Caddy, built from the module in caddy/ unless the cache has it.
func buildCaddy(t *testing.T) string {
	t.Helper()
	key := hash(t, "caddy/go.mod", "caddy/go.sum") + "-" + runtime.Version() + "-" + runtime.GOOS + "-" + runtime.GOARCH
	dir := cached(t, "caddy-"+key, func(out string) error {
		t.Log("building Caddy from its Go module, once (some minutes)")
		return errors.Join(os.Mkdir(out, 0o755), command(t, "caddy", []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath",
			"-ldflags", "-s -w", "-o", filepath.Join(out, "caddy"), "github.com/caddyserver/caddy/v2/cmd/caddy"))
	})
	return filepath.Join(dir, "caddy")
}

func goBuild(t *testing.T, dir, out string, packages ...string) {
	t.Helper()
	if err := command(t, dir, []string{"CGO_ENABLED=0"}, "go", append([]string{"build", "-o", out}, packages...)...); err != nil {
		t.Fatal(err)
	}
}

// cached returns a directory of the cache that servers.Build uses, and makes it where it is not there. It appears whole or not
// at all; two processes that make it at once waste time only.
func cached(t *testing.T, name string, build func(out string) error) string {
	t.Helper()
	cache, err := servers.Cache()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "compose")
	sum := sha256.Sum256([]byte(name))
	first, _, _ := strings.Cut(name, "-")
	result := filepath.Join(cache, fmt.Sprintf("%s-%x", first, sum[:6]))
	if _, err := os.Stat(result); err == nil {
		return result
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	partial, err := os.MkdirTemp(cache, first+".partial-") //nolint:usetesting // beside what it becomes by a rename
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(partial)
	made := filepath.Join(partial, "made")
	if err := build(made); err != nil {
		giveUp(t, err.Error())
	}
	if err := os.Rename(made, result); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return result
}

func command(t *testing.T, dir string, environ []string, name string, args ...string) error {
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), environ...)
	if text, err := cmd.CombinedOutput(); err != nil {
		if cause := context.Cause(t.Context()); cause != nil {
			err = cause
		}
		return fmt.Errorf("%s: %w: %s", name, err, tail(string(text), 2000))
	}
	return nil
}

// hash is that of the files' content.
func hash(t *testing.T, files ...string) string {
	t.Helper()
	sum := sha256.New()
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(name), len(text), text)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// copyTree copies a directory; symbolic links become what they lead to.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		within, err := filepath.Rel(from, path)
		if info, statErr := os.Stat(path); err == nil && statErr == nil && info.Mode().IsRegular() {
			copyFile(t, path, filepath.Join(to, within))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// quoted writes a list as a Dockerfile has it.
func quoted(words ...string) string {
	all := slices.Clone(words)
	for n := range all {
		all[n] = fmt.Sprintf("%q", all[n])
	}
	return "[" + strings.Join(all, ", ") + "]"
}
