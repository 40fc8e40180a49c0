package block

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
)

// Scope says how much of the DAG below the end of a path is selected: the
// dag-scope parameter of the trustless gateway (IPIP-402).
type Scope string

// The scopes.
const (
	ScopeAll    Scope = "all"    // every block below the terminus
	ScopeEntity Scope = "entity" // a whole file, or a directory's own blocks without its children
	ScopeBlock  Scope = "block"  // the terminus block alone
)

// Encoding says how the selected blocks are written.
type Encoding string

// The encodings.
const (
	EncodingRaw Encoding = "raw" // the bytes of one block
	EncodingCAR Encoding = "car" // a CARv1 stream
	EncodingBao Encoding = "bao" // a range of one BLAKE3 blob with its proof; Bytes counts from its beginning
)

// Selection is a request for content, with its meaning and without its
// protocol: what a gateway parses and a client builds.
type Selection struct {
	Root     cid.Cid
	Path     []string // decoded segments below Root, may be empty
	Scope    Scope
	Bytes    *ByteRange // entity-bytes; implies ScopeEntity
	Dups     bool       // repeat blocks that occur more than once (dups=y)
	Encoding Encoding
}

// Body is the answer to a [Selection], planned but not yet read.
type Body interface {
	// Size returns the exact length in bytes and true where it is known before
	// reading, else false.
	Size() (int64, bool)
	// Variant tells apart the bodies that one selection could have (another
	// plan, another order of blocks), for entity tags. It is short and safe to
	// quote in a header. Empty means that nobody vouches for equal bytes.
	Variant() string
	// Send writes the body. Bytes that fail verification are never written: Send
	// stops with an error instead, after fewer bytes than Size. It returns the
	// bytes written.
	Send(ctx context.Context, w io.Writer) (int64, error)
}

// Ranger is a [Body] of which a part can be sent.
type Ranger interface {
	Body
	// SendRange writes n bytes from offset off of the body.
	SendRange(ctx context.Context, w io.Writer, off, n int64) (int64, error)
}

// Opener plans bodies.
type Opener interface {
	// Open answers sel. It reads no more than it must to know that the root and
	// the path exist. Absent content matches [io/fs.ErrNotExist].
	Open(ctx context.Context, sel Selection) (Body, error)
}

// ByteRange is the value of entity-bytes: an inclusive range of a file's bytes.
// Negative numbers count from the end. It is written "from:to", where a to of
// "*" means the end.
type ByteRange struct {
	From int64
	To   int64
	Open bool // to the end; To is ignored
}

// ParseByteRange reads the form "from:to".
func ParseByteRange(s string) (*ByteRange, error) {
	from, to, ok := strings.Cut(s, ":")
	if !ok {
		return nil, fmt.Errorf("entity-bytes %q: want FROM:TO, such as 0:1023 or -512:*", s)
	}
	var r ByteRange
	var err error
	if r.From, err = strconv.ParseInt(from, 10, 64); err != nil {
		return nil, fmt.Errorf("entity-bytes %q: %q is not a number", s, from)
	}
	if r.Open = to == "*"; !r.Open {
		r.To, err = strconv.ParseInt(to, 10, 64)
	}
	if err != nil {
		return nil, fmt.Errorf("entity-bytes %q: %q is neither a number nor *", s, to)
	}
	if s != r.String() { // +1, -0, 007: one range has one spelling
		return nil, fmt.Errorf("entity-bytes %q: want plain numbers, such as %s", s, r)
	}
	// With both ends counted from the same side, an inverted range is knowable here.
	if !r.Open && (r.From >= 0) == (r.To >= 0) && r.To < r.From {
		return nil, fmt.Errorf("entity-bytes %q: ends before it begins", s)
	}
	return &r, nil
}

// String returns the form "from:to".
func (r ByteRange) String() string {
	if r.Open {
		return strconv.FormatInt(r.From, 10) + ":*"
	}
	return strconv.FormatInt(r.From, 10) + ":" + strconv.FormatInt(r.To, 10)
}

// Resolve returns the range as offsets [from, to) in a file of size bytes. A
// range that reaches over an end is clamped, one that lies wholly outside a file
// that has bytes gives [ErrRange]. A range that comes out as empty, because the
// file is or because its ends crossed, is from == to and selects the file's root
// block alone (trustless gateway specification, entity-bytes).
func (r ByteRange) Resolve(size int64) (from, to int64, err error) {
	if size == 0 {
		return 0, 0, nil
	}
	from, last := r.From, r.To
	if r.Open {
		last = size - 1
	} else if last < 0 {
		last += size
	}
	if from < 0 {
		from += size
	}
	switch {
	case from >= size || (from <= last && last < 0):
		return 0, 0, fmt.Errorf("entity-bytes %s of %d bytes: %w", r, size, ErrRange)
	case last < from:
		from = max(from, 0)
		return from, from, nil
	}
	return max(from, 0), min(last, size-1) + 1, nil
}
