package aging

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads := 0
		c := New(10, time.Minute, func(context.Context, string) (int, error) {
			time.Sleep(10 * time.Second)
			loads++
			return loads, nil
		})
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{0, 1}, {49 * time.Second, 1}, {time.Second, 2}} {
			time.Sleep(step.after)
			if got, err := c.Value(t.Context(), "a"); got != step.want || err != nil {
				t.Errorf("after %s: %d, %v; want %d", step.after, got, err, step.want)
			}
		}
	})
}

func TestErrorsAreNotKept(t *testing.T) {
	fail := errors.New("fail")
	c := New(10, time.Minute, func(context.Context, string) (int, error) {
		err := fail
		fail = nil
		return 7, err
	})
	if _, err := c.Value(t.Context(), "a"); err == nil {
		t.Error("no error")
	}
	if got, err := c.Value(t.Context(), "a"); got != 7 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

// TestGiveUp lets the caller that loads for three give up: it returns at once, and one of the
// others loads for both.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads := 0
		c := New(10, time.Minute, func(ctx context.Context, _ string) (int, error) {
			loads++
			select {
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			case <-time.After(time.Hour):
				return 7, nil
			}
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		first, rest := make(chan error), make(chan error, 2)
		go func() {
			_, err := c.Value(ctx, "a")
			first <- err
		}()
		synctest.Wait()
		for range 2 {
			go func() {
				got, err := c.Value(t.Context(), "a")
				if got != 7 {
					err = fmt.Errorf("%d, %w", got, err)
				}
				rest <- err
			}()
		}
		synctest.Wait()
		start := time.Now()
		cancel(gone)
		if err := <-first; !errors.Is(err, gone) || time.Since(start) > 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		if err := errors.Join(<-rest, <-rest); err != nil || loads != 2 {
			t.Errorf("%d loads, %v", loads, err)
		}
	})
}

// What another process writes is seen after a second.
func ExampleCache() {
	c := New(100, time.Second, func(_ context.Context, name string) (string, error) {
		return "address of " + name, nil
	})
	fmt.Println(c.Value(context.Background(), "a"))
	// Output: address of a <nil>
}
