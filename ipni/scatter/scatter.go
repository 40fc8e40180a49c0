// Package scatter asks indexers of others, all at once, and merges what they answer. They
// share nothing and agree on nothing, so everybody is asked: the shards of an own cluster are
// the business of package cluster.
//
// A backend belongs to a class, as with indexstar: [Plain] ones are asked for multihashes,
// [Encrypted] ones for second hashes and sealed metadata, [Providers] ones for what they know of providers,
// and [Cascade] ones for multihashes if a request names their label.
//
// # Answers
//
// Results are yielded as they come, each once: results are the same if provider, context id
// and metadata are. A backend that does not answer within the wait is given up. Whether an answer is
// all that there is can be seen from its end:
//
//   - no error: every backend of the class answered. No results mean absence.
//   - [ipni.ErrIncomplete] after results: some did not. What came is true, and must not be cached
//     as if it were all.
//   - [ErrUnavailable] without results: nobody knows. It matches [context.DeadlineExceeded] too
//     if that was for want of time.
//
// # Errors
//
// As above. A class without backends has nothing: it is absence.
//
// A Scatter is safe for concurrent use, also while its backends are replaced.
package scatter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/breaker"
)

// ErrUnavailable is that no results came, and not everybody answered.
var ErrUnavailable = errors.New("scatter: not all indexers answered")

// Class is what a backend is asked for.
type Class string

// The classes.
const (
	Plain     Class = "plain"
	Encrypted Class = "encrypted"
	Providers Class = "providers"
	Cascade   Class = "cascade"
)

// Backend is an indexer.
type Backend struct {
	Name  string // for people; with the class it names a breaker
	Class Class
	Label string // of a cascade, exactly as requests name it

	Finder    ipni.Finder       // of plain ones and cascades
	Sealed    ipni.SealedReader // of encrypted ones
	Directory Directory         // of those for providers
}

// Directory tells what an indexer knows of providers.
type Directory interface {
	// Provider returns one, or an error that matches fs.ErrNotExist.
	Provider(ctx context.Context, id peer.ID) (*model.ProviderInfo, error)
	// All yields all of them.
	All(ctx context.Context) iter.Seq2[*model.ProviderInfo, error]
}

// check returns an error if b cannot be asked for what its class says.
func (b *Backend) check() error {
	var ok bool
	switch b.Class {
	case Plain, Cascade:
		ok = b.Finder != nil && (b.Class == Cascade) == (b.Label != "")
	case Encrypted:
		ok = b.Sealed != nil
	case Providers:
		ok = b.Directory != nil
	}
	if b.Name == "" || !ok {
		return fmt.Errorf("scatter: backend %q of class %q: %w", b.Name, b.Class, fs.ErrInvalid)
	}
	return nil
}

// Options of [New]. The zero value of a field means its default.
type Options struct {
	Wait    time.Duration   // for all results of an answer; default 5 s
	Max     int             // results of an answer; more are an error; default 65,536
	Breaker breaker.Options // of each backend
}

// Scatter asks backends.
type Scatter struct {
	opts Options
	list atomic.Pointer[[]*target]
	mu   sync.Mutex // of those who replace the list
}

// target is a backend with its breaker.
type target struct {
	Backend
	breaker *breaker.Breaker
}

// New returns a Scatter without backends.
func New(o *Options) *Scatter {
	s := &Scatter{}
	if o != nil {
		s.opts = *o
	}
	if s.opts.Wait <= 0 {
		s.opts.Wait = 5 * time.Second
	}
	if s.opts.Max <= 0 {
		s.opts.Max = 65536
	}
	s.list.Store(&[]*target{})
	return s
}

// Set replaces the backends. Answers under way go on with those that they began with. The breakers of
// backends with the same name and class remain.
func (s *Scatter) Set(backends []Backend) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	type name struct {
		class Class
		name  string
	}
	old := map[name]*breaker.Breaker{}
	for _, t := range *s.list.Load() {
		old[name{t.Class, t.Name}] = t.breaker
	}
	list := make([]*target, 0, len(backends))
	seen := map[name]bool{}
	for _, b := range backends {
		key := name{b.Class, b.Name}
		err := b.check()
		if err == nil && seen[key] {
			err = fmt.Errorf("scatter: backend %q twice: %w", b.Name, fs.ErrInvalid)
		}
		if err != nil {
			return err
		}
		seen[key] = true
		t := &target{Backend: b, breaker: old[key]}
		if t.breaker == nil {
			t.breaker = breaker.New(&s.opts.Breaker)
		}
		list = append(list, t)
	}
	s.list.Store(&list)
	return nil
}

// Status is a backend with the state of its breaker.
type Status struct {
	Name    string
	Class   Class
	Label   string
	Breaker breaker.State
}

// Backends returns the backends in the order of [Scatter.Set].
func (s *Scatter) Backends() []Status {
	var all []Status
	for _, t := range *s.list.Load() {
		all = append(all, Status{t.Name, t.Class, t.Label, t.breaker.State()})
	}
	return all
}

// Labels returns the labels of the cascades, each once.
func (s *Scatter) Labels() []string {
	var all []string
	for _, t := range *s.list.Load() {
		if t.Class == Cascade && !slices.Contains(all, t.Label) {
			all = append(all, t.Label)
		}
	}
	return all
}

// of returns the targets of a class and, of a cascade, of a label.
func (s *Scatter) of(class Class, label string) (all []*target) {
	for _, t := range *s.list.Load() {
		if t.Class == class && t.Label == label {
			all = append(all, t)
		}
	}
	return all
}
