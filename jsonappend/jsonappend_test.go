package jsonappend

import (
	"encoding/json"
	"strings"
	"testing"
)

// check compares with encoding/json, behind what is there already.
func check(t *testing.T, s string) {
	t.Helper()
	for _, c := range []struct {
		got []byte
		of  any
	}{{String([]byte("["), s), s}, {Base64([]byte("["), []byte(s)), append([]byte{}, s...)}} {
		want, err := json.Marshal(c.of)
		if err != nil {
			t.Fatal(err)
		}
		if string(c.got) != "["+string(want) {
			t.Errorf("%q became %s, want [%s", s, c.got, want)
		}
	}
}

func TestAppend(t *testing.T) {
	for _, s := range []string{"", "a", "/dns4/x/tcp/443", "ü", "\u2028", "\xff", "a\x7f", "</script>", "a&b", `"`, `\`, "\x00\t\n\x1f", strings.Repeat("x", 1000)} {
		check(t, s)
	}
	for c := range 256 {
		check(t, "a"+string([]byte{byte(c)})+"b")
	}
}

func TestAllocations(t *testing.T) {
	dst := make([]byte, 0, 128)
	if n := testing.AllocsPerRun(10, func() { dst = Base64(String(dst[:0], "/ip4/192.0.2.1/tcp/4001"), dst[:8]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("/dns4/x/tcp/443")
	f.Add("<\"\\&\x00\xff\u2028>")
	f.Fuzz(check)
}
