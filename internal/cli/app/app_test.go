package app

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Elsewhere than on a terminal, a line tells now and then how far the work is.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := &App{Streams: Streams{Err: &out}}
		p := a.Progress("added", false)
		p.Expect(4 << 20)
		for range 5 {
			time.Sleep(6 * time.Second)
			p.Add(1 << 20) // the fifth time more than there is
		}
		p.Stop()
		p.Stop()
		p.Add(1)
		want := "added 2.0 MiB of 4.0 MiB (50 %), 170.7 KiB/s\nadded 4.0 MiB of 4.0 MiB (100 %), 170.7 KiB/s\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(diff)
		}
		out.Reset()
		q := a.Progress("added", true)
		time.Sleep(time.Hour)
		q.Add(1)
		unknown := a.Progress("read", false)
		time.Sleep(10 * time.Second)
		unknown.Add(1024)
		if got := out.String(); got != "read 1.0 KiB, 102 B/s\n" {
			t.Errorf("printed %q", got)
		}
	})
}

// A read that nobody ends does not keep the command.
func TestStdinEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := &App{Streams: Streams{In: blocking{}}}
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := a.Stdin(ctx).Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type blocking struct{}

func (blocking) Read([]byte) (int, error) { select {} }
