package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// NacosServer is a real Nacos server (naming only, standalone, no log-in).
type NacosServer struct {
	*Process
	Addr string // 127.0.0.1:port of the HTTP API; gRPC, which the SDK uses, is on port+1000
	Port int    // the port of Addr
}

// NacosConfig says how a [NacosServer] differs from the default. The zero value is one.
type NacosConfig struct {
	// PushDelay is how long the server gathers changes before it pushes them (pushTaskDelay). Zero stands for 10 ms;
	// Nacos's own default is 500 ms. Its engine ticks every 100 ms, so a push takes about that long at least.
	PushDelay time.Duration
	// Properties are further settings, "name=value", such as "nacos.core.auth.enabled=true".
	Properties []string
}

// Nacos starts a server for one test. It takes more than ten seconds and 400 MB: see [Share]. Where it cannot be had, the
// test ends as [Need] says.
func Nacos(tb testing.TB, config NacosConfig) *NacosServer {
	tb.Helper()
	return forTest(tb, StartNacos, config)
}

// StartNacos starts a server which keeps everything below dir, and returns when it takes registrations, persistent ones
// too. The context bounds the start only; the caller ends the server.
//
// A killed server keeps persistent instances. Ephemeral ones live only as long as their client's connection; the SDK
// registers them again.
func StartNacos(ctx context.Context, dir string, config NacosConfig) (*NacosServer, error) {
	built, err := Build(ctx, "nacos")
	if err != nil {
		return nil, err
	}
	// Tomcat and RocksDB unpack into the temporary folder and leave that behind when they are killed.
	if err := os.MkdirAll(nacosTempDir(dir), 0o700); err != nil {
		return nil, err
	}
	return onFreePorts(ctx, func(ctx context.Context) (*NacosServer, error) {
		// gRPC for clients, gRPC for servers, raft.
		port, err := freePort(1000, 1001, -1000)
		if err != nil {
			return nil, err
		}
		server := &NacosServer{Addr: fmt.Sprintf("127.0.0.1:%d", port), Port: port}
		server.Process = &Process{
			name: "nacos server on " + server.Addr, dir: dir,
			path: "java", args: nacosCommandLine(built, dir, port, config),
			started: "Nacos started successfully",
		}
		server.answers = server.nacosAnswers
		return server, server.Start(ctx)
	})
}

func nacosCommandLine(built, dir string, port int, config NacosConfig) []string {
	delay := config.PushDelay
	if delay == 0 {
		delay = 10 * time.Millisecond
	}
	args := []string{
		"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", // small, and soon awake
		"-XX:-UsePerfData", // which is a file in /tmp, whatever the next line says
		"-Djava.io.tmpdir=" + nacosTempDir(dir),
		"-Duser.home=" + dir,
		"-Dnacos.home=" + dir,
		"-Dnacos.standalone=true",
		"-Dnacos.functionMode=naming",
		"-Dnacos.server.ip=127.0.0.1",    // raft knows itself by this address, which must not change between two starts
		"-Dderby.system.durability=test", // no fsync for a database that holds nothing a test asks for
		"-Dnacos.naming.push.pushTaskDelay=" + strconv.FormatInt(delay.Milliseconds(), 10),
	}
	for _, property := range config.Properties {
		args = append(args, "-D"+property)
	}
	return append(args, "-cp", nacosClassPath(built), "dev.seamark.e2e.NacosServer",
		"--server.address=127.0.0.1", "--server.port="+strconv.Itoa(port))
}

func nacosTempDir(dir string) string { return filepath.Join(dir, "tmp") }

// nacosClassPath puts hessian 4 before hessian 3.3, for both are needed: without the old one no push is ever
// acknowledged and subscribers hear nothing, with the old one first the server does not start.
func nacosClassPath(built string) string {
	return strings.Join([]string{
		filepath.Join(built, "classes"),
		filepath.Join(built, "lib", "hessian-4.0.63.jar"),
		filepath.Join(built, "lib", "*"),
	}, string(filepath.ListSeparator))
}

func nacosRecipe() recipe {
	return recipe{
		name:     "nacos",
		what:     "a Nacos server from its Maven artifacts (120 MB, about a minute)",
		programs: []string{"java", "javac", "mvn"},
		enable: "install a JDK (17 or later) and Maven (Debian: openjdk-17-jdk-headless maven), " +
			"and with access to Maven Central run: go run ./e2e/servers/cmd/prepare nacos",
		key: func(_ context.Context, source string) (string, error) {
			return hashFiles(filepath.Join(source, "nacos"))
		},
		build: func(ctx context.Context, source, out string) error {
			// Maven writes beside its pom.xml, so the project is copied out of the tree.
			project := filepath.Join(out, "project")
			if err := os.CopyFS(project, os.DirFS(filepath.Join(source, "nacos"))); err != nil {
				return err
			}
			if _, err := command(ctx, project, nil, "mvn", "-B", "-q", "-Dstyle.color=never", "compile"); err != nil {
				return err
			}
			for _, part := range []string{"classes", "lib"} {
				if err := os.Rename(filepath.Join(project, "target", part), filepath.Join(out, part)); err != nil {
					return err
				}
			}
			return os.RemoveAll(project)
		},
	}
}
