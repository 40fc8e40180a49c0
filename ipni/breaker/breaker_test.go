package breaker_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/ipni/breaker"
)

func Example() {
	b := breaker.New(&breaker.Options{Failures: 1})
	done, err := b.Allow()
	fmt.Println(b.State(), err)
	done(breaker.Failure)
	_, err = b.Allow()
	fmt.Println(b.State(), err)
	// Output:
	// closed <nil>
	// open breaker: open
}

// call makes a call that ends with v, and reports whether it was let through.
func call(t *testing.T, b *breaker.Breaker, v breaker.Verdict) bool {
	t.Helper()
	done, err := b.Allow()
	if err != nil && !errors.Is(err, breaker.ErrOpen) {
		t.Fatal(err)
	}
	if err == nil {
		done(v)
	}
	return err == nil
}

func TestOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(&breaker.Options{Failures: 3, Pause: time.Second, MaxPause: 3 * time.Second})
		for _, v := range []breaker.Verdict{breaker.Failure, breaker.Failure, breaker.Success, breaker.Failure, breaker.None, breaker.Failure} {
			call(t, b, v)
		}
		if b.State() != breaker.Closed {
			t.Fatal("open, though a success stood between the failures")
		}
		call(t, b, breaker.Failure)
		for _, pause := range []time.Duration{1, 2, 3, 3} { // seconds
			if b.State() != breaker.Open || call(t, b, breaker.Success) {
				t.Fatal("not open")
			}
			time.Sleep(pause*time.Second - 1)
			if call(t, b, breaker.Success) {
				t.Fatalf("probe before %v s", int(pause))
			}
			time.Sleep(1 * time.Nanosecond)
			if b.State() != breaker.HalfOpen || !call(t, b, breaker.Failure) {
				t.Fatalf("no probe after %v s", int(pause))
			}
		}
		time.Sleep(3 * time.Second)
		if !call(t, b, breaker.Success) || b.State() != breaker.Closed {
			t.Fatal("does not close")
		}
	})
}

// A probe that was cancelled makes room for the next one.
func TestProbeWithoutVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(&breaker.Options{Failures: 1})
		call(t, b, breaker.Failure)
		time.Sleep(time.Second)
		done, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		if call(t, b, breaker.None) {
			t.Fatal("two probes at once")
		}
		done(breaker.None)
		if !call(t, b, breaker.Success) || b.State() != breaker.Closed {
			t.Fatal("no second probe")
		}
	})
}

// Calls that began before the breaker opened do not count against probes.
func TestLateVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(&breaker.Options{Failures: 1})
		late, _ := b.Allow()
		call(t, b, breaker.Failure)
		time.Sleep(time.Second)
		late(breaker.Failure)
		if !call(t, b, breaker.Success) || b.State() != breaker.Closed {
			t.Fatal("a late failure opened it again")
		}
	})
}
