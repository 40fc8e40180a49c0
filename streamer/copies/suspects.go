package copies

import (
	"context"
	"sync"
	"time"

	"github.com/hashstream/hashstream/index"
)

// suspects are the locations with a copy in quarantine. What they hold is hashed
// each time it is sent, whatever was verified before and whatever [Options.Verify]
// says. The index is asked for them once in Life.
type suspects struct {
	mu        sync.Mutex
	read      time.Time // zero: read them now
	locations map[index.Location]bool
}

func (s *suspects) has(ctx context.Context, x *index.Index, loc index.Location) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.read) > Life {
		s.refresh(ctx, x)
	}
	return s.locations[loc]
}

// refresh keeps what is known where the index does not answer.
func (s *suspects) refresh(ctx context.Context, x *index.Index) {
	found := map[index.Location]bool{}
	for bad, err := range x.Quarantines(ctx) {
		if err != nil {
			return
		}
		found[bad.Location] = true
	}
	s.locations, s.read = found, time.Now()
}

func (s *suspects) add(loc index.Location) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locations[loc] = true
}

// forget has the index asked again.
func (s *suspects) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = time.Time{}
}
