package segstore

import (
	"fmt"
	"time"

	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
)

// Work in the background that may fail; that of a partition has its number.
const (
	flushing = -1
	counting = -2
)

// Err returns why work in the background fails, nil if it does not.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health.Err()
}

// report records what became of work in the background, and returns how long it is to wait if it
// failed. done says that it was done, if not in the best way.
func (s *Store) report(work int, done bool, err error) (wait time.Duration) {
	if err != nil && s.ctx.Err() != nil {
		return 0
	}
	if err != nil {
		err = fmt.Errorf("segstore: %s: %w", nameOf(work), err)
		s.slog.Error("value store is impaired", "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		if !s.health.Fine(work) {
			return 0
		}
	case done:
		s.health.Impaired(work, err)
	default:
		wait = s.health.Failed(work, err, time.Now())
	}
	s.notify()
	s.room.raise()
	return wait
}

func nameOf(work int) string {
	switch work {
	case flushing:
		return "flush"
	case counting:
		return "count removed records"
	}
	return fmt.Sprintf("merge partition %d", work)
}

// waits reports whether work failed, and is not to be tried yet.
func (s *Store) waits(work int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health.Waits(work, time.Now())
}

// nextTry returns when some work is to be tried again, 0 if none failed.
func (s *Store) nextTry() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait, _ := s.health.Next(time.Now())
	return wait
}

// hopeless returns why there will be no room for another table, nil if there may be. s.mu is held.
func (s *Store) hopeless() error {
	if !s.current.Crowded() {
		return s.health.Lasting(flushing)
	}
	for _, i := range s.current.Pinned() {
		if err := s.health.Lasting(i); err != nil {
			return err
		}
	}
	return nil
}

// space returns the least kind of operations that may be written, and why others may not.
func (s *Store) space() (least oplog.Kind, err error) {
	left, err := s.reserve.Left()
	if left < 2 {
		return oplog.Remove, err
	}
	return oplog.Delete, err
}
