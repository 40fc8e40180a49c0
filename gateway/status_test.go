package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

// TestStatus ties both directions: what the server says and what a client makes
// of it.
func TestStatus(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		back   error // what ErrorOf(status) matches; nil: nothing in particular
	}{
		{fs.ErrNotExist, 404, fs.ErrNotExist},
		{block.ErrNotLink, 501, block.ErrNotLink},
		{ErrBusy, 503, ErrBusy},
		{context.DeadlineExceeded, 504, context.DeadlineExceeded},
		{context.Canceled, 503, ErrBusy},
		{block.ErrEncoding, 406, block.ErrEncoding},
		{block.ErrRange, 400, nil},
		{digest.ErrInvalid, 400, nil},
		{digest.ErrUnsupported, 400, nil},
		{digest.ErrMismatch, 500, nil},
		{block.ErrTooLarge, 500, nil},
		{errors.New("disk on fire"), 500, nil},
		{errors.Join(fs.ErrNotExist, digest.ErrMismatch), 500, nil},
		{&Error{Status: 412}, 412, fs.ErrNotExist},
		{&Error{Status: 429}, 429, ErrBusy},
	} {
		wrapped := fmt.Errorf("store: find it: %w", c.err)
		if got := StatusOf(wrapped); got != c.status {
			t.Errorf("StatusOf(%v) = %d, want %d", c.err, got, c.status)
		}
		back := ErrorOf(c.status)
		if got := StatusOf(back); got != c.status {
			t.Errorf("StatusOf(ErrorOf(%d)) = %d", c.status, got)
		}
		if c.back != nil && !errors.Is(back, c.back) {
			t.Errorf("ErrorOf(%d) = %v, want a match of %v", c.status, back, c.back)
		}
	}
	for _, status := range []int{200, 206, 304} {
		if err := ErrorOf(status); err != nil {
			t.Errorf("ErrorOf(%d) = %v", status, err)
		}
	}
	if StatusOf(nil) != 200 {
		t.Error("nil is not 200")
	}
	for status := 400; status < 600; status++ {
		if got := StatusOf(ErrorOf(status)); got != status {
			t.Errorf("StatusOf(ErrorOf(%d)) = %d", status, got)
		}
	}
}
