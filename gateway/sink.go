package gateway

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"syscall"
	"time"
)

const (
	// stride is how much is written under one look at the clock, in bytes. With
	// the default idle time it lets clients live that take 9 KB/s. Half as much
	// costs a tenth of the speed.
	stride = 256 << 10
	// copyBuffer is the buffer for sources that cannot go by sendfile.
	copyBuffer = 64 << 10
)

var (
	errLength = errors.New("body does not have its promised length")
	errWrite  = errors.New("write to client")
)

// sink is the writer that bodies see. It keeps to the promised length, moves the
// write deadline on as bytes go out, and remembers whether any did. It wraps
// nothing that other handlers see.
type sink struct {
	h        *Handler
	w        http.ResponseWriter
	from     io.ReaderFrom // w, where it can
	deadline interface{ SetWriteDeadline(time.Time) error }
	status   int
	begun    bool  // the header may be on its way
	n        int64 // bytes written
	left     int64 // bytes that may still be written
	looked   time.Time
	part     io.LimitedReader
}

func (s *sink) reset(h *Handler, w http.ResponseWriter, status int, size int64, known bool) {
	s.h, s.w, s.status, s.left = h, w, status, size
	if !known {
		s.left = math.MaxInt64
	}
	s.from, _ = w.(io.ReaderFrom)
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		s.deadline = d
	} else {
		s.deadline = http.NewResponseController(w)
	}
}

// Write sends p, if that is not more than was promised.
func (s *sink) Write(p []byte) (int, error) {
	if int64(len(p)) > s.left {
		return 0, fmt.Errorf("%w: it goes on", errLength)
	}
	done := 0
	for done < len(p) {
		s.begin()
		s.touch()
		n, err := s.w.Write(p[done:min(len(p), done+stride)])
		done += n
		s.count(int64(n))
		if err != nil {
			return done, fmt.Errorf("%w: %w", errWrite, err)
		}
	}
	return done, nil
}

// ReadFrom sends what src has. net/http and the kernel look for a file through
// one [io.LimitedReader] and no further, so one is looked through here, too.
func (s *sink) ReadFrom(src io.Reader) (int64, error) {
	rest := int64(math.MaxInt64)
	outer, limited := src.(*io.LimitedReader)
	if limited {
		src, rest = outer.R, outer.N
		if rest > s.left {
			return 0, fmt.Errorf("%w: it goes on", errLength)
		}
	}
	var total int64
	for rest > 0 && s.left > 0 {
		want := min(rest, s.left, stride)
		took, n, err := s.pass(src, want)
		total += n
		rest -= took
		if limited {
			outer.N -= took
		}
		if err != nil || took < want {
			return total, err
		}
	}
	return total, nil
}

// pass sends up to want bytes of src. It returns how many it took from src and
// how many of them it sent.
func (s *sink) pass(src io.Reader, want int64) (took, n int64, err error) {
	s.touch()
	if s.from == nil {
		return s.copy(src, want)
	}
	if s.status != http.StatusOK {
		s.begin()
	}
	s.part = io.LimitedReader{R: src, N: want}
	n, err = s.from.ReadFrom(&s.part)
	s.begun = s.begun || n > 0
	s.count(n)
	if err != nil && clientGone(err) {
		err = fmt.Errorf("%w: %w", errWrite, err)
	}
	return want - s.part.N, n, err
}

// copy is pass for a writer without ReadFrom, such as that of HTTP/2.
func (s *sink) copy(src io.Reader, want int64) (took, n int64, err error) {
	buffer := s.h.buffers.Get().(*[]byte)
	defer s.h.buffers.Put(buffer)
	for took < want && err == nil {
		var read, sent int
		read, err = src.Read((*buffer)[:min(want-took, copyBuffer)])
		took += int64(read)
		sent, writeErr := s.Write((*buffer)[:read])
		n += int64(sent)
		if writeErr != nil {
			return took, n, writeErr
		}
	}
	if err == io.EOF {
		err = nil
	}
	return took, n, err
}

// begin sends the header, if it says more than the 200 that the first write
// implies.
func (s *sink) begin() {
	if !s.begun && s.status != http.StatusOK {
		s.w.WriteHeader(s.status)
	}
	s.begun = true
}

func (s *sink) count(n int64) {
	s.n += n
	s.left -= n
}

// touch moves the write deadline on. It asks the clock at each write and the
// connection four times per idle time, because in HTTP/2 that is a message to
// another goroutine. So a client has the idle time at least, and 5/4 of it at most.
func (s *sink) touch() {
	if s.h.idle < 0 {
		return
	}
	now := time.Now()
	if now.Sub(s.looked) < s.h.idle/4 {
		return
	}
	s.looked = now
	s.deadline.SetWriteDeadline(now.Add(s.h.idle + s.h.idle/4)) // fails on a writer without deadlines, which cannot stall
}

// clientGone reports whether err came from writing. A connection's ReadFrom
// wraps the errors of its source and its own alike.
func clientGone(err error) bool {
	var op *net.OpError
	for rest := err; errors.As(rest, &op); rest = op.Err {
		switch op.Op {
		case "read":
			return false
		case "write":
			return true
		}
	}
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}
