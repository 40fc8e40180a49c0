package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/hashstream/hashstream/kv"
)

// Store is the role of a member that holds partitions, Ingest of one that follows publishers.
const (
	RoleStore  = "store"
	RoleIngest = "ingest"
)

// maxName is the length of the longest id, in bytes.
const maxName = 128

// Member is a node of the cluster, as its row says.
type Member struct {
	ID       string   `json:"id"`  // 1 to 128 bytes of printable ASCII, the same after a restart
	URL      string   `json:"url"` // where it is reached; without credentials
	Roles    []string `json:"roles,omitempty"`
	Weight   uint32   `json:"weight,omitempty"`   // share of the partitions, relative to others; 0 means 100
	Frozen   bool     `json:"frozen,omitempty"`   // takes nothing new
	Draining bool     `json:"draining,omitempty"` // hands over what it has
	// Store names the records of the member, which other records under its id do not have.
	Store string `json:"store,omitempty"`
	// Incarnation counts how often the member joined, Beat its signs of life. Join and
	// [Session.Beat] set them.
	Incarnation uint64 `json:"incarnation"`
	Beat        uint64 `json:"beat"`
}

// Has reports whether m has a role.
func (m Member) Has(role string) bool { return slices.Contains(m.Roles, role) }

func (m *Member) check() error {
	if err := CheckID(m.ID); err != nil {
		return err
	}
	if len(m.URL) > 2048 || len(m.Roles) > 16 || len(m.Store) > maxName {
		return errors.New("url, roles or store too long")
	}
	return nil
}

// CheckID returns an error if id cannot name a member.
func CheckID(id string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' }
	if id == "" || len(id) > maxName || bytes.ContainsFunc([]byte(id), bad) {
		return fmt.Errorf("member id of %d bytes: want 1 to %d of printable ASCII", len(id), maxName)
	}
	return nil
}

// Status is a member with what this observer knows of it.
type Status struct {
	Member
	Alive bool // its heartbeat moved within the TTL, or was first seen within it
}

// Members watches the members of a cluster.
type Members struct {
	store  kv.Store
	timing Timing

	mu   sync.Mutex
	seen map[string]sighting
}

// sighting is when a heartbeat was first seen as it is.
type sighting struct {
	incarnation, beat uint64
	at                time.Time
}

// NewMembers returns a watch over the members whose rows are in store.
func NewMembers(store kv.Store, timing Timing) *Members {
	return &Members{store: store, timing: timing.WithDefaults(), seen: map[string]sighting{}}
}

// Timing returns the timing of the cluster.
func (m *Members) Timing() Timing { return m.timing }

// List reads the rows of all members, in the order of their ids. Whoever is seen for the first time
// counts as alive; so a new observer calls nobody dead before a TTL has passed.
func (m *Members) List(ctx context.Context) ([]Status, error) {
	var all []Status
	for pair, err := range m.store.Scan(ctx, kv.Prefix([]byte(memberPrefix))) {
		var s Status
		if err == nil {
			err = decode(pair.Key, pair.Value, &s.Member)
		}
		if err != nil {
			return nil, fmt.Errorf("cluster: list members: %w", err)
		}
		all = append(all, s)
	}
	m.observe(all, time.Now())
	return all, nil
}

// observe sets who of all is alive.
func (m *Members) observe(all []Status, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make(map[string]sighting, len(all))
	for i, s := range all {
		was, ok := m.seen[s.ID]
		if !ok || was.beat != s.Beat || was.incarnation != s.Incarnation {
			was = sighting{s.Incarnation, s.Beat, now}
		}
		next[s.ID] = was
		all[i].Alive = now.Sub(was.at) < m.timing.TTL
	}
	m.seen = next
}

// Join writes the row of self, which drains if the row before it did. A process that joined
// under the same id before is told so by [ErrReplaced] at its next heartbeat.
func (m *Members) Join(ctx context.Context, self Member) (*Session, error) {
	if err := m.agree(ctx); err != nil {
		return nil, err
	}
	s := &Session{members: m, id: self.ID, store: self.Store}
	start, incarnation := time.Now(), uint64(0)
	err := update(ctx, m.store, memberPrefix+self.ID, func(row *Member, _ bool) (bool, error) {
		next := self
		next.Incarnation, next.Beat, next.Draining = row.Incarnation+1, row.Beat+1, self.Draining || row.Draining
		*row, incarnation = next, next.Incarnation
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cluster: join as %q: %w", self.ID, err)
	}
	s.incarnation = incarnation
	s.last = start
	return s, nil
}

func (t *Timing) check() error {
	if t.TTL <= 0 || t.View <= 0 || t.Write <= 0 {
		return errors.New("timing that is not positive")
	}
	return nil
}

// agree compares the timing with that of the cluster, or sets it.
func (m *Members) agree(ctx context.Context) error {
	return update(ctx, m.store, timingKey, func(row *Timing, exists bool) (bool, error) {
		if exists && *row != m.timing {
			return false, fmt.Errorf("cluster: this node's timing is %v, that of the cluster %v", m.timing, *row)
		}
		*row = m.timing
		return !exists, nil
	})
}

// Forget removes the row of a member if it is as wanted says then; nil is any. A row that is not
// wanted matches [ErrReplaced], one that is not there [io/fs.ErrNotExist]. It is for members that
// have handed over what they had, or are dead for good: others take over at once what
// belonged to a member without a row.
func (m *Members) Forget(ctx context.Context, id string, wanted func(Member) bool) error {
	key := []byte(memberPrefix + id)
	err := m.store.Update(ctx, key, func(old []byte) ([]byte, error) {
		var row Member
		if old == nil {
			return nil, fs.ErrNotExist
		}
		if err := decode(key, old, &row); err != nil && wanted != nil {
			return nil, err
		}
		if wanted != nil && !wanted(row) {
			return nil, ErrReplaced
		}
		return nil, nil
	})
	if err != nil {
		return fmt.Errorf("cluster: forget %q: %w", id, err)
	}
	return nil
}

// Session is the life of this process as a member.
type Session struct {
	members     *Members
	id, store   string
	incarnation uint64

	mu   sync.Mutex
	last time.Time // when the last heartbeat that was written had not yet begun
}

// ID returns the name of the member.
func (s *Session) ID() string { return s.id }

// Store returns the name of the member's records.
func (s *Session) Store() string { return s.store }

// Incarnation returns which of the lives of the member this is.
func (s *Session) Incarnation() uint64 { return s.incarnation }

// Until is the moment up to which nobody takes the member for dead: two thirds of a TTL after
// the last heartbeat, by this node's clock. Others wait for a whole one.
func (s *Session) Until() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.Add(s.members.timing.TTL * 2 / 3)
}

// Beat gives a sign of life.
func (s *Session) Beat(ctx context.Context) error { return s.Set(ctx, func(*Member) {}) }

// Set changes the row of the member, which is a sign of life too. f sets Frozen, Draining and
// the like; it may be called more than once.
func (s *Session) Set(ctx context.Context, f func(*Member)) error {
	start := time.Now()
	err := update(ctx, s.members.store, memberPrefix+s.id, func(row *Member, exists bool) (bool, error) {
		if !exists {
			return false, ErrForgotten
		}
		if row.Incarnation != s.incarnation {
			return false, ErrReplaced
		}
		f(row)
		row.ID, row.Incarnation = s.id, s.incarnation
		row.Beat++
		return true, nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone(err) {
		s.last = time.Time{}
	}
	if err != nil {
		return fmt.Errorf("cluster: heartbeat of %q: %w", s.id, err)
	}
	if start.After(s.last) {
		s.last = start
	}
	return nil
}

// gone reports whether err ends the life of a member.
func gone(err error) bool { return errors.Is(err, ErrReplaced) || errors.Is(err, ErrForgotten) }

// Run gives signs of life until ctx ends, or the member is replaced or forgotten. An error of the
// store is tried again.
func (s *Session) Run(ctx context.Context) error {
	pause := s.members.timing.TTL / 6
	for {
		beat, cancel := context.WithTimeout(ctx, 2*pause)
		err := s.Beat(beat)
		cancel()
		if gone(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// Leave removes the row of the member.
func (s *Session) Leave(ctx context.Context) error {
	err := s.members.store.Update(ctx, []byte(memberPrefix+s.id), func(old []byte) ([]byte, error) {
		var row Member
		if old == nil {
			return nil, nil
		}
		if err := decode([]byte(memberPrefix+s.id), old, &row); err != nil {
			return nil, err
		}
		if row.Incarnation != s.incarnation {
			return nil, ErrReplaced
		}
		return nil, nil
	})
	if err != nil {
		return fmt.Errorf("cluster: leave as %q: %w", s.id, err)
	}
	return nil
}
