package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

func TestRunWithoutWhatNacosNeeds(t *testing.T) {
	t.Setenv("PATH", "")
	tests := map[string]struct {
		names   []string
		require string
		want    int
		says    string
	}{
		"not required": {[]string{"nacos"}, "", 0, "to enable them: install a JDK"},
		"required":     {[]string{"nacos"}, "all", 1, "to enable them: install a JDK"},
		"unknown":      {[]string{"zookeeper"}, "", 2, `no server is called "zookeeper"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv(servers.RequireEnv, tt.require)
			var stderr bytes.Buffer
			if got := run(t.Context(), tt.names, &stderr); got != tt.want {
				t.Errorf("exit code %d, want %d", got, tt.want)
			}
			if !strings.Contains(stderr.String(), tt.says) {
				t.Errorf("says %q, want %q in it", stderr.String(), tt.says)
			}
		})
	}
}
