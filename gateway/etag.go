package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/hashstream/hashstream/block"
)

// entityTag returns the tag of body as the answer to sel. A block has one form,
// so its tag is strong; so is that of a proof, whose variant is the groups in it. The tag of a CAR covers all that its bytes depend on, and
// is strong only if the body vouches for them.
func entityTag(text string, sel *block.Selection, body block.Body) string {
	variant := body.Variant()
	switch sel.Encoding {
	case block.EncodingRaw:
		return `"` + text + `.raw"`
	case block.EncodingBao:
		return `"` + text + ".bao." + variant + `"`
	}
	open := `"`
	if _, known := body.Size(); !known || variant == "" {
		open = `W/"`
	}
	return open + text + ".car." + string(sel.Scope) + "." + carHash(sel, variant) + `"`
}

// carHash condenses what the bytes of a CAR depend on, beside the root. Each
// field has its length before it, so that no two selections spell the same.
func carHash(sel *block.Selection, variant string) string {
	b := make([]byte, 0, 256)
	field := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	field("version=1;order=dfs;dups=" + yesNo(sel.Dups))
	field(variant)
	field(string(sel.Scope))
	if sel.Bytes != nil {
		field(sel.Bytes.String())
	} else {
		field("")
	}
	for _, s := range sel.Path {
		field(s)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// matchesTag reports whether a list of entity tags, as in If-Match and
// If-None-Match, has tag or is "*". Weak comparison (RFC 9110, section 8.8.3.2)
// takes a weak tag for its strong twin; strong comparison takes no weak tag.
func matchesTag(lists []string, tag string, weak bool) bool {
	for _, rest := range lists {
		for {
			rest = strings.TrimLeft(rest, " \t,")
			if rest == "" {
				break
			}
			if rest == "*" {
				return true
			}
			var one string
			if one, rest = cutTag(rest); one == "" {
				break // malformed: nothing after it can be trusted
			}
			if sameTag(one, tag, weak) {
				return true
			}
		}
	}
	return false
}

func sameTag(a, b string, weak bool) bool {
	if weak {
		return strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/")
	}
	return a == b && !strings.HasPrefix(a, "W/")
}

// cutTag cuts the entity tag that s begins with. It returns "" if there is none.
func cutTag(s string) (tag, rest string) {
	open := 0
	if strings.HasPrefix(s, "W/") {
		open = 2
	}
	if len(s) <= open || s[open] != '"' {
		return "", ""
	}
	end := strings.IndexByte(s[open+1:], '"')
	if end < 0 {
		return "", ""
	}
	end += open + 2
	return s[:end], s[end:]
}
