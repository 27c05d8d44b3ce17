package servers_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

func TestNATSKeepsItsStreamsWhenKilled(t *testing.T) {
	server := servers.NATS(t, servers.NATSConfig{})
	js := jetStream(t, server)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "kept.one", []byte("1")); err != nil {
		t.Fatal(err)
	}

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	stream, err := jetStream(t, server).Stream(t.Context(), "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("after a kill and a start the stream holds %d messages, want 1", got)
	}
}

func TestNATSTakesConfigurationAndRunsSideBySide(t *testing.T) {
	nats.For(t)
	other := servers.NATS(t, servers.NATSConfig{Domain: "edge", Config: `authorization { user: "u", password: "p" }`})
	if conn, err := natsgo.Connect(other.URL); err == nil {
		conn.Close()
		t.Error("connected without the password that Config asks for")
	}
	info, err := jetStream(t, other, natsgo.UserInfo("u", "p")).AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Domain != "edge" {
		t.Errorf("JetStream's domain is %q, want edge", info.Domain)
	}
}

func TestNATSPausesAndStops(t *testing.T) {
	server := servers.NATS(t, servers.NATSConfig{})
	conn := connect(t, server)
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushTimeout(100 * time.Millisecond); err == nil {
		t.Error("a paused server answered")
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushTimeout(10 * time.Second); err != nil {
		t.Errorf("a resumed server does not answer: %v", err)
	}
	if err := server.Start(t.Context()); err == nil {
		t.Error("a running server was started once more")
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(); err != nil {
		t.Errorf("a paused server does not stop: %v", err)
	}
	if err := server.Stop(); err != nil {
		t.Errorf("a second stop: %v", err)
	}
	if err := server.Pause(); err == nil {
		t.Error("a stopped server was paused")
	}
}

func TestServerThatCannotStartShowsItsLog(t *testing.T) {
	servers.Need(t, "nats")
	_, err := servers.StartNATS(t.Context(), t.TempDir(), servers.NATSConfig{Config: "no_such_setting: 1"})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("the error is %v, want one that shows what the server said", err)
	}
}

func TestServerDiesWithTheProcessThatStartedIt(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // promised for Linux only
	}
	servers.Need(t, "nats")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentDirEnv+"="+t.TempDir())
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, err := output.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	monitor := strings.TrimSpace(string(line[:n]))
	if !responds(monitor) {
		t.Fatalf("the server does not answer on %q", monitor)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // says that it was killed
	for deadline := time.Now().Add(10 * time.Second); responds(monitor); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server outlived the process that started it")
		}
	}
}

func jetStream(t *testing.T, server *servers.NATSServer, options ...natsgo.Option) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(connect(t, server, options...))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func connect(t *testing.T, server *servers.NATSServer, options ...natsgo.Option) *natsgo.Conn {
	t.Helper()
	closed := make(chan struct{})
	options = append(options, natsgo.ClosedHandler(func(*natsgo.Conn) { close(closed) }))
	conn, err := natsgo.Connect(server.URL, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); <-closed })
	return conn
}
