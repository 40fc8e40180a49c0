// Package watch tells when directories change, soon after they do, and gives the time
// for looking at what cannot be watched.
//
// A Watcher is used by one goroutine.
package watch

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options tunes a [Watcher]. Zero values mean the defaults.
type Options struct {
	Interval time.Duration // between two looks at what cannot be watched; default 5 min
	Quiet    time.Duration // without a change before one is told; default 500 ms
	// Latest bounds how long a change that goes on is waited for. Default 10 s.
	Latest time.Duration
}

// Watcher watches directories, files and other names.
type Watcher struct {
	o       Options
	events  *fsnotify.Watcher
	watched []string // directories and files, by what they were added as
	others  []string // names that come by interval
}

// ErrPolled reports a name that is looked at by interval alone.
var ErrPolled = errors.New("the system does not tell when it changes")

// New returns a Watcher of nothing. The caller closes it.
func New(o *Options) (*Watcher, error) {
	w := &Watcher{}
	if o != nil {
		w.o = *o
	}
	for d, v := range map[*time.Duration]time.Duration{&w.o.Interval: 5 * time.Minute, &w.o.Quiet: 500 * time.Millisecond, &w.o.Latest: 10 * time.Second} {
		if *d <= 0 {
			*d = v
		}
	}
	var err error
	w.events, err = fsnotify.NewWatcher()
	return w, err
}

// Close ends the watching.
func (w *Watcher) Close() error { return w.events.Close() }

// Add watches a name. Whatever the error, it is looked at by interval.
func (w *Watcher) Add(name string) error {
	w.others = append(w.others, name)
	if strings.Contains(name, "://") {
		return nil
	}
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !fi.IsDir() { // it may be replaced by another of its name
		err = w.events.Add(filepath.Dir(name))
	} else {
		err = w.tree(name)
	}
	if err != nil {
		return errors.Join(ErrPolled, err)
	}
	w.watched = append(w.watched, name)
	return nil
}

// tree watches a directory and all below it.
func (w *Watcher) tree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		return w.events.Add(path)
	})
}

// Changes yields the names of what changed or is to be looked at, until ctx ends.
func (w *Watcher) Changes(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		look := time.NewTicker(w.o.Interval)
		defer look.Stop()
		c := changes{pending: map[string]time.Time{}}
		for {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-w.events.Events:
				if !ok {
					return
				}
				w.event(e, &c)
			case <-w.events.Errors: // some were lost
				for _, name := range w.watched {
					c.add(name)
				}
			case <-c.quiet(w.o):
				for name := range c.pending {
					delete(c.pending, name)
					if !yield(name) {
						return
					}
				}
			case <-look.C:
				w.renew()
				for _, name := range w.others {
					if !yield(name) {
						return
					}
				}
			}
		}
	}
}

// renew watches anew what was removed and came again.
func (w *Watcher) renew() {
	for _, name := range w.watched {
		if fi, err := os.Stat(name); err == nil && fi.IsDir() {
			_ = w.tree(name) // what it misses is found by interval
		}
	}
}

// event notes what an event concerns, and watches directories that appeared.
func (w *Watcher) event(e fsnotify.Event, c *changes) {
	// Every operation counts, also one on the times alone: they are in a file's identity.
	if e.Has(fsnotify.Create) {
		if fi, err := os.Lstat(e.Name); err == nil && fi.IsDir() {
			_ = w.tree(e.Name) // what it misses is found by interval
		}
	}
	for _, name := range w.watched {
		if e.Name == name || strings.HasPrefix(e.Name, name+string(filepath.Separator)) {
			c.add(name)
		}
	}
}

// changes are names that changed, with the time of the first change.
type changes struct {
	pending map[string]time.Time
	last    time.Time
}

func (c *changes) add(name string) {
	c.last = time.Now()
	if _, ok := c.pending[name]; !ok {
		c.pending[name] = c.last
	}
}

// quiet returns a channel that tells when nothing has changed for a while, or for too long
// something did; nil if nothing is pending.
func (c *changes) quiet(o Options) <-chan time.Time {
	if len(c.pending) == 0 {
		return nil
	}
	at := c.last.Add(o.Quiet)
	for _, first := range c.pending {
		if latest := first.Add(o.Latest); latest.Before(at) {
			at = latest
		}
	}
	return time.After(time.Until(at))
}
