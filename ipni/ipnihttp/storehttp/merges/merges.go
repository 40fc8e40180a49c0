// Package merges reads the JSON by which records are written to dhstore:
//
//	{"merges":[{"key":"…","value":"…"},…]}
//
// key is a dbl-sha2-256 multihash, value an encrypted value key, both in base64. The reader streams:
// its memory does not grow with the document, and it costs a tenth of what encoding/json does.
//
// # Errors
//
// Malformed documents match [io/fs.ErrInvalid]. Errors of the input and of who takes the records are returned
// as they are.
//
// A Reader must not be used concurrently.
package merges

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// A batch of records is handed on when it has this many bytes: some thousand records, so
// that a durable write is paid for once, and memory is bounded whatever is sent.
const (
	batchBytes = 1 << 20
	batchRoom  = batchBytes + 4<<10
)

// Reader reads documents. What it accepts is what encoding/json accepts for such a type, but
// for names that come twice and bytes after the document: there, one of two readers would be wrong.
// The zero value is ready, and is best used again.
type Reader struct {
	// Least is the length of the shortest value that is taken, in bytes; less than one means one.
	Least int

	scanner
	records valuestore.Records
	count   int64
	key     [dhash.KeySize + 2 + 4]byte
	value   [valuestore.MaxValue + 4]byte
	take    func(valuestore.Records) error // what is full
}

// Read consumes a document and hands all of its records to take, in batches of about a
// mebibyte that are valid until take returns.
func (m *Reader) Read(r io.Reader, take func(valuestore.Records) error) error {
	m.take = take
	defer func() { m.take = nil }()
	m.reset(r)
	defer func() { m.r = nil }()
	m.records, m.count = m.records[:0], 0
	seen := false
	err := m.object(func(name []byte) error {
		if !named(name, "merges") {
			return m.skip(0)
		}
		if seen {
			return m.wrong("merges for the second time")
		}
		seen = true
		return m.list()
	})
	if err != nil {
		return err
	}
	if c, err := m.peek(); err == nil {
		return m.wrong("%q after the document", c)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	if m.count == 0 {
		return m.wrong("at least one merge must be specified")
	}
	return m.flush()
}

// named compares the names of fields as encoding/json does.
func named(name []byte, want string) bool {
	return string(name) == want || strings.EqualFold(string(name), want)
}

// object reads an object, and calls field for the value of each.
func (m *Reader) object(field func(name []byte) error) error {
	if err := m.expect('{'); err != nil {
		return err
	}
	if done, err := m.empty('}'); err != nil || done {
		return err
	}
	for {
		name, err := m.str()
		if err != nil {
			return err
		}
		if err := m.colon(name, field); err != nil {
			return err
		}
		if more, err := m.more('}'); err != nil || !more {
			return err
		}
	}
}

// colon reads on after a name, which does not survive that if the window moves.
func (m *Reader) colon(name []byte, field func(name []byte) error) error {
	var short [16]byte
	n := copy(short[:], name)
	if n < len(name) {
		n = 0 // none that is known is so long
	}
	if err := m.expect(':'); err != nil {
		return err
	}
	return field(short[:n])
}

func (m *Reader) list() error {
	if null, err := m.null(); err != nil || null {
		return err
	}
	if err := m.expect('['); err != nil {
		return err
	}
	if done, err := m.empty(']'); err != nil || done {
		return err
	}
	for {
		if err := m.record(); err != nil {
			return err
		}
		if more, err := m.more(']'); err != nil || !more {
			return err
		}
	}
}

// record reads one element. Its parts come in any order: they are decoded apart, and put together.
func (m *Reader) record() error {
	keyed, valued := -1, -1
	if err := m.expect('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		if first {
			if done, err := m.empty('}'); err != nil {
				return err
			} else if done {
				break
			}
		}
		name, err := m.str()
		if err != nil {
			return err
		}
		isKey, isValue := named(name, "key"), named(name, "value")
		if err := m.expect(':'); err != nil {
			return err
		}
		switch {
		case isKey:
			err = m.decode(m.key[:], &keyed)
		case isValue:
			err = m.decode(m.value[:], &valued)
		default:
			err = m.skip(0)
		}
		if err != nil {
			return err
		}
		if more, err := m.more('}'); err != nil {
			return err
		} else if !more {
			break
		}
	}
	return m.add(m.key[:max(keyed, 0)], m.value[:max(valued, 0)])
}

// decode reads a string in base64 into dst.
func (m *Reader) decode(dst []byte, n *int) error {
	if *n >= 0 {
		return m.wrong("a field for the second time")
	}
	*n = 0
	if null, err := m.null(); err != nil || null {
		return err
	}
	text, raw, err := m.raw()
	if err != nil {
		return err
	}
	if raw && (bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0) {
		return m.wrong("a control character in a string") // base64 would skip it
	}
	if base64.StdEncoding.DecodedLen(len(text)) > len(dst) && base64Len(text) > len(dst) {
		return m.wrong("%d bytes of base64", len(text))
	}
	if *n, err = base64.StdEncoding.Decode(dst, text); err != nil {
		return m.wrong("%v", err)
	}
	return nil
}

// base64Len bounds what text decodes to: line breaks count for nothing.
func base64Len(text []byte) int {
	n := 0
	for _, c := range text {
		if c != '\n' && c != '\r' {
			n++
		}
	}
	return base64.StdEncoding.DecodedLen(n)
}

// add appends a record to the batch.
func (m *Reader) add(key, value []byte) error {
	k, err := dhash.ParseKey(multihash.Multihash(key))
	if err != nil {
		return m.wrong("the key of merge %d is no dbl-sha2-256 multihash", m.count)
	}
	if len(value) < max(m.Least, 1) || len(value) > valuestore.MaxValue {
		return m.wrong("the value of merge %d has %d bytes", m.count, len(value))
	}
	m.count++
	if m.records == nil {
		m.records = make(valuestore.Records, 0, batchRoom)
	}
	m.records = append(m.records, k[:]...)
	m.records = binary.AppendUvarint(m.records, uint64(len(value)))
	m.records = append(m.records, value...)
	if len(m.records) >= batchBytes {
		return m.flush()
	}
	return nil
}

func (m *Reader) flush() error {
	if len(m.records) == 0 {
		return nil
	}
	err := m.take(m.records)
	m.records = m.records[:0]
	return err
}
