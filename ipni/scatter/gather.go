package scatter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"time"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/breaker"
)

// errLate is a backend that took too long.
var errLate = fmt.Errorf("scatter: no answer in time: %w", context.DeadlineExceeded)

// event is something that a backend said.
type event[T any] struct {
	from  *target
	value T
	end   bool
	err   error // of the end
}

// gather asks targets and yields what they say, as it comes. It ends as the package says; what
// is the same, which key tells, is yielded once.
func gather[T any, K comparable](ctx context.Context, s *Scatter, targets []*target, ask func(context.Context, *target) iter.Seq2[T, error], key func(T) K) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		inner, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		events := make(chan event[T])
		for _, t := range targets {
			go listen(inner, t, ask, events)
		}
		// Only the time that passes here counts: a slow reader is not the fault of backends.
		left := s.opts.Wait
		late := time.NewTimer(left)
		defer late.Stop()
		g := gathering[T, K]{seen: map[K]struct{}{}, open: map[*target]bool{}}
		for _, t := range targets {
			g.open[t] = true
		}
		for len(g.open) > 0 {
			start := time.Now()
			late.Reset(left)
			select {
			case e := <-events:
				left -= time.Since(start)
				if e.end {
					g.ended(e.from, e.err)
					continue
				}
				if !g.fresh(key(e.value)) {
					continue
				}
				if len(g.seen) > s.opts.Max {
					yield(e.value, fmt.Errorf("scatter: more than %d results: %w", s.opts.Max, ipni.ErrIncomplete))
					return
				}
				if !yield(e.value, nil) {
					return
				}
			case <-late.C:
				cancel(errLate)
				for t := range g.open {
					g.ended(t, errLate)
				}
			case <-ctx.Done():
				for t := range g.open {
					g.ended(t, context.Cause(ctx))
				}
			}
		}
		if err := g.verdict(); err != nil {
			var none T
			yield(none, err)
		}
	}
}

// gathering is what came so far.
type gathering[T any, K comparable] struct {
	seen   map[K]struct{}
	open   map[*target]bool
	causes []error
}

// fresh reports whether k is new.
func (g *gathering[T, K]) fresh(k K) bool {
	_, old := g.seen[k]
	g.seen[k] = struct{}{}
	return !old
}

func (g *gathering[T, K]) ended(t *target, err error) {
	delete(g.open, t)
	if err != nil {
		g.causes = append(g.causes, fmt.Errorf("%s: %w", t.Name, err))
	}
}

// verdict is the error that an answer ends with.
func (g *gathering[T, K]) verdict() error {
	switch {
	case len(g.causes) == 0:
		return nil
	case len(g.seen) > 0:
		return fmt.Errorf("scatter: %w: %w", ipni.ErrIncomplete, errors.Join(g.causes...))
	default:
		return fmt.Errorf("scatter: %w: %w", ErrUnavailable, errors.Join(g.causes...))
	}
}

// listen asks one target. A backend may hang for longer than anybody waits: then its breaker
// learns of it when the wait is over.
func listen[T any](ctx context.Context, t *target, ask func(context.Context, *target) iter.Seq2[T, error], events chan<- event[T]) {
	say := func(e event[T]) bool {
		select {
		case events <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	done, err := t.breaker.Allow()
	if err != nil {
		say(event[T]{from: t, end: true, err: err})
		return
	}
	var once sync.Once
	judge := func(v breaker.Verdict) { once.Do(func() { done(v) }) }
	left := func() {
		if errors.Is(context.Cause(ctx), errLate) {
			judge(breaker.Failure)
		} else {
			judge(breaker.None)
		}
	}
	stop := context.AfterFunc(ctx, left)
	defer func() {
		stop() // it may not have begun, though the context has ended
		left()
	}()
	for value, err := range ask(ctx, t) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			if ctx.Err() == nil {
				judge(breaker.Failure)
			}
			say(event[T]{from: t, end: true, err: err})
			return
		}
		if !say(event[T]{from: t, value: value}) {
			return
		}
	}
	judge(breaker.Success)
	say(event[T]{from: t, end: true})
}
