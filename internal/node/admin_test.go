package node_test

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"
	"testing"
)

// metric returns the value of a series, 0 if it is not there.
func (n *running) metric(t testing.TB, series string) float64 {
	t.Helper()
	a := do(t, n.http1, "GET", n.admin+"/metrics")
	if a.status != 200 {
		t.Fatalf("metrics: status %d, %v", a.status, a.err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(a.body)); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0
}
