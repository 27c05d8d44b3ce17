package e2e

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// metricsPage reads the metrics of the daemon whose HTTP interface is at an address.
func metricsPage(t *testing.T, address string) string {
	t.Helper()
	reply, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// metricOf sums a metric of a daemon over all labels that contain a text.
func metricOf(t *testing.T, address, name, labels string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(metricsPage(t, address)) {
		if strings.HasPrefix(line, name) && strings.Contains(line, labels) {
			line = strings.TrimSpace(line)
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += value
		}
	}
	return sum
}

// metric sums a metric of global-dns over all labels that contain a text.
func (m *mesh) metric(t *testing.T, name, labels string) float64 {
	t.Helper()
	return metricOf(t, m.http, name, labels)
}
