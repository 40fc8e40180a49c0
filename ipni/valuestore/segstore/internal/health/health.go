// Package health remembers what goes wrong in the background: why, how often, and when it is to be
// tried again. Each kind of work is known by a number.
//
// A Record is not safe for concurrent use.
package health

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hashstream/hashstream/digest"
)

const (
	first    = time.Second // how long work waits after it failed; then twice as long, and so on
	longest  = time.Minute
	damaged  = time.Hour // the longest, if it is for damage, which waiting does not mend
	patience = 3         // failures in a row that are not told to those who only wait for the work
)

// Record is what fails at present. The zero Record is ready to use.
type Record struct{ failures map[int]failure }

type failure struct {
	err   error
	tries int
	retry time.Time
}

// Failed records that work failed, and returns how long it is to wait.
func (r *Record) Failed(work int, err error, now time.Time) time.Duration {
	f := r.failures[work]
	most := longest
	if errors.Is(err, digest.ErrMismatch) {
		most = damaged
	}
	wait := min(first<<min(f.tries, 12), most)
	r.set(work, failure{err, f.tries + 1, now.Add(wait)})
	return wait
}

// Impaired records that work was done, but not as it should be.
func (r *Record) Impaired(work int, err error) { r.set(work, failure{err: err}) }

func (r *Record) set(work int, f failure) {
	if r.failures == nil {
		r.failures = map[int]failure{}
	}
	r.failures[work] = f
}

// Fine records that work was done, and reports whether it had failed.
func (r *Record) Fine(work int) (was bool) {
	_, was = r.failures[work]
	delete(r.failures, work)
	return was
}

// Waits reports whether work that failed is not to be tried yet.
func (r *Record) Waits(work int, now time.Time) bool { return now.Before(r.failures[work].retry) }

// Lasting returns why work fails, unless another try may well do it.
func (r *Record) Lasting(work int) error {
	f := r.failures[work]
	if f.tries >= patience || f.tries > 0 && errors.Is(f.err, digest.ErrMismatch) {
		return f.err
	}
	return nil
}

// Next returns how long it is until some work may be tried again, or false if none waits.
func (r *Record) Next(now time.Time) (wait time.Duration, some bool) {
	for _, f := range r.failures {
		if d := f.retry.Sub(now); d > 0 && (!some || d < wait) {
			wait, some = d, true
		}
	}
	return wait, some
}

// Err returns why work failed, all of it that did.
func (r *Record) Err() error {
	var all []error
	for _, work := range slices.Sorted(maps.Keys(r.failures)) {
		all = append(all, r.failures[work].err)
	}
	return errors.Join(all...)
}
