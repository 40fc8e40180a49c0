package merges

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	windowSize = 64 << 10
	maxDepth   = 1000 // of values that are skipped
)

// scanner reads JSON (RFC 8259) through a window of fixed size.
type scanner struct {
	r        io.Reader
	buf      []byte
	pos, end int
	before   int64  // bytes that have left the window
	text     []byte // of a string with escapes
}

func (s *scanner) reset(r io.Reader) {
	if s.buf == nil {
		s.buf = make([]byte, windowSize)
	}
	*s = scanner{r: r, buf: s.buf, text: s.text[:0]}
}

// errFull is a token that does not fit into the window.
var errFull = errors.New("a string is too long")

// fill reads more, keeping what was not consumed.
func (s *scanner) fill() error {
	if s.pos > 0 {
		copy(s.buf, s.buf[s.pos:s.end])
		s.before += int64(s.pos)
		s.end -= s.pos
		s.pos = 0
	}
	if s.end == len(s.buf) {
		return errFull
	}
	for range 100 { // a reader may give nothing, but not for ever
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// wrong tells what is malformed, and where.
func (s *scanner) wrong(format string, args ...any) error {
	return fmt.Errorf("merges: byte %d: %w: %s", s.before+int64(s.pos), fs.ErrInvalid, fmt.Sprintf(format, args...))
}

// ended makes the end of the input a malformed document.
func (s *scanner) ended(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return s.wrong("the document is not complete")
	case errors.Is(err, errFull):
		return s.wrong("%v", err)
	}
	return err
}

// peek returns the next byte that is no white space, without consuming it.
func (s *scanner) peek() (byte, error) {
	for {
		for s.pos < s.end {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\n', '\r':
				s.pos++
			default:
				return c, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

// expect consumes a byte after white space.
func (s *scanner) expect(want byte) error {
	c, err := s.peek()
	if err != nil {
		return s.ended(err)
	}
	if c != want {
		return s.wrong("%q instead of %q", c, want)
	}
	s.pos++
	return nil
}

// more consumes what follows an element: a comma, or the closing byte.
func (s *scanner) more(closing byte) (bool, error) {
	c, err := s.peek()
	if err != nil {
		return false, s.ended(err)
	}
	if c != ',' && c != closing {
		return false, s.wrong("%q instead of a comma or %q", c, closing)
	}
	s.pos++
	return c == ',', nil
}

// empty consumes the closing byte of a list without elements.
func (s *scanner) empty(closing byte) (bool, error) {
	c, err := s.peek()
	if err != nil {
		return false, s.ended(err)
	}
	if c != closing {
		return false, nil
	}
	s.pos++
	return true, nil
}

// str returns a string that fits into the window. It is valid until the next call.
func (s *scanner) str() ([]byte, error) {
	text, raw, err := s.raw()
	if err == nil && raw {
		for _, c := range text {
			if c < ' ' {
				return nil, s.wrong("a control character in a string")
			}
		}
	}
	return text, err
}

// raw is str for who looks for control characters himself, if the string is raw: without escapes.
func (s *scanner) raw() (text []byte, raw bool, err error) {
	if err := s.expect('"'); err != nil {
		return nil, false, err
	}
	for from := 0; ; {
		window := s.buf[s.pos:s.end]
		i := bytes.IndexByte(window[from:], '"')
		if i < 0 {
			i = len(window) - from
		}
		if bytes.IndexByte(window[from:from+i], '\\') >= 0 {
			text, err = s.escaped()
			return text, false, err
		}
		if from += i; from < len(window) {
			s.pos += from + 1
			return window[:from], true, nil
		}
		if err := s.fill(); err != nil {
			return nil, false, s.ended(err)
		}
	}
}

// escaped reads the rest of a string that has escapes, decoded.
func (s *scanner) escaped() ([]byte, error) {
	s.text = s.text[:0]
	for {
		c, err := s.next()
		if err != nil {
			return nil, err
		}
		switch {
		case c == '"':
			return s.text, nil
		case c < ' ':
			return nil, s.wrong("a control character in a string")
		case c != '\\':
			s.text = append(s.text, c)
		default:
			if err := s.escape(); err != nil {
				return nil, err
			}
		}
		if len(s.text) > windowSize {
			return nil, s.ended(errFull)
		}
	}
}

// next consumes a byte.
func (s *scanner) next() (byte, error) {
	if s.pos == s.end {
		if err := s.fill(); err != nil {
			return 0, s.ended(err)
		}
	}
	s.pos++
	return s.buf[s.pos-1], nil
}

// escape reads what follows a backslash. Half of a surrogate pair becomes U+FFFD, as with encoding/json.
func (s *scanner) escape() error {
	c, err := s.next()
	if err != nil {
		return err
	}
	const short = `"\/bfnrt`
	if i := bytes.IndexByte([]byte(short), c); i >= 0 {
		s.text = append(s.text, "\"\\/\b\f\n\r\t"[i])
		return nil
	}
	if c != 'u' {
		return s.wrong("%q after a backslash", c)
	}
	r, err := s.hex4()
	if err != nil {
		return err
	}
	for utf16.IsSurrogate(r) {
		var low rune
		if again, err := s.follows(); err != nil || !again {
			s.text = utf8.AppendRune(s.text, utf8.RuneError)
			return err
		}
		if low, err = s.hex4(); err != nil {
			return err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			r = pair
			break
		}
		s.text = utf8.AppendRune(s.text, utf8.RuneError)
		r = low
	}
	s.text = utf8.AppendRune(s.text, r)
	return nil
}

// follows consumes `\u`, if that comes.
func (s *scanner) follows() (bool, error) {
	for s.end-s.pos < 2 {
		if err := s.fill(); err != nil {
			return false, s.ended(err)
		}
	}
	if s.buf[s.pos] != '\\' || s.buf[s.pos+1] != 'u' {
		return false, nil
	}
	s.pos += 2
	return true, nil
}

func (s *scanner) hex4() (rune, error) {
	var r rune
	for range 4 {
		c, err := s.next()
		if err != nil {
			return 0, err
		}
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, s.wrong("%q in an escape", c)
		}
		r = r<<4 | rune(c)
	}
	return r, nil
}

// null consumes null, if that comes.
func (s *scanner) null() (bool, error) {
	if c, err := s.peek(); err != nil {
		return false, s.ended(err)
	} else if c != 'n' {
		return false, nil
	}
	return true, s.literal("null")
}

func (s *scanner) literal(want string) error {
	for i := range len(want) {
		c, err := s.next()
		if err != nil {
			return err
		}
		if c != want[i] {
			return s.wrong("no %s", want)
		}
	}
	return nil
}
