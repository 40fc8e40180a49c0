package sqsqueue

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte(".YQ=="))
	f.Add([]byte(".YR=="))
	f.Add([]byte(".YQ=\r\n="))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		text := encode(body)
		if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsGraphic(r) }) {
			t.Errorf("encode(%q) = %q, want plain text", body, text)
		}
		if got := decode(text); !bytes.Equal(got, body) {
			t.Errorf("decode(encode(%q)) = %q", body, got)
		}
		// What is not ours is not changed.
		if got := decode(string(body)); encode(got) != string(body) && !bytes.Equal(got, body) {
			t.Errorf("decode(%q) = %q", body, got)
		}
	})
}
