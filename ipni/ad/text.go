package ad

import (
	"bytes"
	"fmt"

	"github.com/ipfs/go-cid"
)

// Limits of a text in dag-json, in bytes. A text can be a CID in base 58, which takes
// quadratic time to decode.
const (
	maxAdText      = 2 * MaxAddr
	maxEntriesText = 256
)

// checkTexts refuses a block of dag-json with a text above limit, bytes in base 64 aside.
// What is not JSON passes: the decoder will refuse it.
func checkTexts(data []byte, limit int, c cid.Cid) error {
	if c.Type() != dagJSON {
		return nil
	}
	for exempt := false; ; {
		open := bytes.IndexByte(data, '"')
		if open < 0 {
			return nil
		}
		if string(bytes.TrimSpace(data[:open])) != ":" {
			exempt = false
		}
		data = data[open+1:]
		size := textSize(data)
		if size > limit && !exempt {
			return fmt.Errorf("text of %d bytes, at most %d are allowed", size, limit)
		}
		exempt = string(data[:size]) == "bytes"
		data = data[min(size+1, len(data)):]
	}
}

// textSize returns the length of a text, up to its closing quote or the end.
func textSize(data []byte) int {
	for at := 0; ; {
		i := bytes.IndexAny(data[at:], `"\`)
		switch {
		case i < 0:
			return len(data)
		case data[at+i] == '"':
			return at + i
		}
		at = min(at+i+2, len(data)) // what is escaped does not close
	}
}
