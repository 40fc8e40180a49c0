package routinghttp

import (
	"strings"
	"testing"

	"github.com/hashstream/hashstream/accept"
)

func TestNegotiate(t *testing.T) {
	for _, tt := range []struct {
		accept string
		want   form
	}{
		{"application/json", formJSON},
		{"application/x-ndjson", formLines},
		{"*/*", formJSON},
		{"application/*", formJSON},
		{"application/x-ndjson,application/json", formLines}, // as boxo's client asks
		{"application/json, application/x-ndjson", formLines},
		{"application/x-ndjson, */*", formLines},
		{"application/x-ndjson;q=0.5, application/json", formJSON},
		{"application/x-ndjson, application/json;q=0.9", formLines},
		{"application/x-ndjson;q=0, */*", formJSON},
		{"application/x-ndjson;q=0", formNone},
		{"application/json;q=0, */*", formNone},
		{"application/json;q=0, application/x-ndjson;q=0.1", formLines},
		{"*/*;q=0", formNone},
		{"text/html", formNone},
		{"text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", formJSON}, // a browser
		{"APPLICATION/X-NDJSON", formLines},
		{"application/x-ndjson;q=2, application/json", formJSON},
		{"application/x-ndjson;q=NaN, application/json", formJSON},
		{"application/x-ndjson;q=x, application/json", formJSON},
		{"application/json;charset=utf-8", formJSON},
		{",;;, application/json", formJSON},
		{"", formNone},
		{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", formJSON}, // Java
		{strings.Repeat("text/html,", accept.MaxRanges-1) + "application/json", formJSON},
		{strings.Repeat("text/html,", accept.MaxRanges) + "application/json", formNone},
		{"application/json" + strings.Repeat(", text/html", accept.MaxRanges), formNone},
	} {
		if got := negotiate([]string{tt.accept}); got != tt.want {
			t.Errorf("%.80q: %d, want %d", tt.accept, got, tt.want)
		}
	}
	if got := negotiate(nil); got != formJSON {
		t.Errorf("without a header: %d", got)
	}
	if got := negotiate([]string{"application/json;q=0.1", "application/x-ndjson"}); got != formLines {
		t.Errorf("two headers: %d", got)
	}
}
