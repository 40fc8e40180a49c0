package health

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashstream/hashstream/digest"
)

// TestBackoff wants work to wait longer each time, up to a minute, and others not at all.
func TestBackoff(t *testing.T) {
	var r Record
	now, why := time.Unix(1, 0), errors.New("full")
	var total time.Duration
	for i := range 20 {
		wait := r.Failed(3, why, now)
		if want := min(time.Second<<min(i, 10), time.Minute); wait != want {
			t.Errorf("failure %d: waits %v, want %v", i, wait, want)
		}
		if next, some := r.Next(now); !some || next != wait {
			t.Errorf("next in %v, %v", next, some)
		}
		if !r.Waits(3, now.Add(wait-1)) || r.Waits(3, now.Add(wait)) || r.Waits(4, now) {
			t.Error("the wrong work waits")
		}
		if (r.Lasting(3) != nil) != (i >= 2) {
			t.Errorf("failure %d: %v", i, r.Lasting(3))
		}
		now, total = now.Add(wait), total+wait
	}
	if !r.Fine(3) || r.Fine(3) || r.Err() != nil || r.Lasting(3) != nil || r.Waits(3, now) {
		t.Error("a failure stays")
	}
}

// TestLasting wants damage to be told at once, and what was done in another way not to stop anybody.
func TestLasting(t *testing.T) {
	var r Record
	damage := fmt.Errorf("segment: %w", digest.ErrMismatch)
	r.Failed(1, damage, time.Now())
	if !errors.Is(r.Lasting(1), digest.ErrMismatch) {
		t.Error("damage is not lasting")
	}
	r.Impaired(1, damage)
	if r.Lasting(1) != nil || r.Waits(1, time.Now()) || !errors.Is(r.Err(), digest.ErrMismatch) {
		t.Error("work that was done stops")
	}
	if _, some := r.Next(time.Now()); some {
		t.Error("it is to be tried again")
	}
}
