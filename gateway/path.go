package gateway

import (
	"encoding/base32"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
)

// maxKey bounds the text of a CID in bytes: an identity digest of 128 bytes in
// base 2 has less than 1,100 digits.
const maxKey = 2 << 10

// lowerBase32 is the multibase that the text of a CIDv1 is in by default, without
// its prefix b.
var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// contentPath is a URL path such as /ipfs/{key}/{segments…}.
type contentPath struct {
	namespace string
	key       string
	segments  []string // decoded; a %2F is part of its segment
	bare      bool     // nothing follows the key, not even a slash
}

// parsePath takes a URL's path apart. Empty segments after the key are dropped,
// as a trailing slash is; "." and ".." are names like any other, because nothing
// is above a root.
func parsePath(u *url.URL, maxSegments int) (contentPath, error) {
	text, escaped := u.Path, u.RawPath != ""
	if escaped {
		text = u.EscapedPath()
	}
	var p contentPath
	if !strings.HasPrefix(text, "/") {
		return p, nil
	}
	namespace, rest, _ := strings.Cut(text[1:], "/")
	key, rest, more := strings.Cut(rest, "/")
	p.bare = !more
	var err error
	if p.namespace, err = segment(namespace, escaped); err != nil {
		return p, err
	}
	if p.key, err = segment(key, escaped); err != nil {
		return p, err
	}
	for rest != "" {
		var s string
		if s, rest, _ = strings.Cut(rest, "/"); s == "" {
			continue
		}
		if len(p.segments) == maxSegments {
			return p, refuse(http.StatusBadRequest, "Bad request: the path has more than %d segments.", maxSegments)
		}
		if s, err = segment(s, escaped); err != nil {
			return p, err
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

func segment(s string, escaped bool) (string, error) {
	if escaped {
		var err error
		if s, err = url.PathUnescape(s); err != nil {
			return "", refuse(http.StatusBadRequest, "Bad request: the path has a malformed percent escape.")
		}
	}
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return "", refuse(http.StatusBadRequest, "Bad request: the path is not valid UTF-8, or has a zero byte.")
	}
	return s, nil
}

// parseCID reads the CID of a path, of any version and multibase. It returns the
// canonical text beside it.
func parseCID(key string) (cid.Cid, string, error) {
	if key == "" {
		return cid.Undef, "", refuse(http.StatusBadRequest, "Bad request: the path has no CID.")
	}
	if len(key) > maxKey {
		return cid.Undef, "", refuse(http.StatusBadRequest, "Bad request: the CID is longer than %d bytes.", maxKey)
	}
	c, err := cid.Decode(key)
	if err != nil {
		return cid.Undef, "", refuse(http.StatusBadRequest, "Bad request: %q is not a CID.", clip(key))
	}
	if c.Prefix().MhType == uint64(digest.Identity) {
		if _, err := digest.FromCID(c); err != nil {
			return cid.Undef, "", refuse(http.StatusBadRequest, "Bad request: identity CIDs hold at most %d bytes.", digest.MaxIdentity)
		}
	}
	return c, canonical(key, c), nil
}

// canonical returns the canonical text of c: key itself if it already is, which
// saves the copy in nearly every request.
func canonical(key string, c cid.Cid) string {
	if c.Version() == 0 {
		return c.String()
	}
	var digits, raw [128]byte
	n := lowerBase32.EncodedLen(c.ByteLen())
	if len(key) != n+1 || key[0] != 'b' || n > len(digits) {
		return c.String()
	}
	lowerBase32.Encode(digits[:n], append(raw[:0], c.KeyString()...))
	if key[1:] != string(digits[:n]) {
		return c.String()
	}
	return key
}

// clip shortens hostile text for a sentence.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
