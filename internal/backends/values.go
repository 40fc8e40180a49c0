package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"path/filepath"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/obs/ipniobs"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore"
	"github.com/hashstream/hashstream/kv"
)

// Values is a store of the provider index's records, with the keys that belong to
// it.
type Values struct {
	valuestore.Store
	Rows kv.Store // groups and metadata
	Dir  string   // on local disk, or empty
	// Stats counts what is stored, if the store does; else it is nil.
	Stats func() ipniobs.StoreStats

	closers []io.Closer
}

// Close lets go of both.
func (v *Values) Close() error {
	var errs []error
	for i := len(v.closers) - 1; i >= 0; i-- {
		errs = append(errs, v.closers[i].Close())
	}
	return errors.Join(errs...)
}

// shortKey is how many bytes of a key a compact store keeps: what it finds is checked.
const shortKey = 8

// segments is the scheme of the store that package segstore keeps in a directory.
const segments = "segments"

// OpenValues opens the records that c names. A directory holds segments beside an
// embedded store of keys; any other store of keys holds both, and is swept until [Values.Close].
func OpenValues(ctx context.Context, c config.Config, o *Options) (*Values, error) {
	if o == nil {
		o = &Options{}
	}
	place, err := findValues(c)
	if err != nil {
		return nil, err
	}
	v := &Values{}
	if place == nil {
		store, closer, err := open(ctx, kvs(), "values", c.Home, c.IPNI.Values, o)
		if err != nil {
			return nil, err
		}
		values := kvstore.New(store)
		return &Values{Store: values, Rows: store, closers: []io.Closer{closer, sweep(values, o.Logger)}}, nil
	}
	v.Dir = place.where
	so := &segstore.Options{Memory: int64(c.IPNI.Memory), Log: o.Logger}
	if c.IPNI.Mode == "compact" {
		so.KeyBytes = shortKey
	}
	s, err := segstore.Open(filepath.Join(v.Dir, "values"), so)
	if err != nil {
		return nil, fmt.Errorf("backends: values %s: %w", place.name, err)
	}
	v.Store, v.closers = s, append(v.closers, s)
	v.Stats = func() ipniobs.StoreStats { return ipniobs.StoreStats(s.Stats()) }
	rows, closer, err := openPebble(ctx, filepath.Join(v.Dir, "rows"), *o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("backends: values %s: %w", place.name, err), v.Close())
	}
	v.Rows, v.closers = rows, append(v.closers, closer)
	return v, nil
}

// sweeper reclaims what was removed until it is closed.
type sweeper struct {
	stop  context.CancelFunc
	ended chan struct{}
}

func sweep(s *kvstore.Store, log *slog.Logger) *sweeper {
	ctx, stop := context.WithCancel(context.Background())
	w := &sweeper{stop, make(chan struct{})}
	go func() {
		defer close(w.ended)
		s.Run(ctx, &kvstore.SweepOptions{Logger: log}) // returns why ctx ended
	}()
	return w
}

// Close waits until the store is not used any more.
func (w *sweeper) Close() error {
	w.stop()
	<-w.ended
	return nil
}

// findValues returns where segments are, or nil if a store of keys holds the records.
func findValues(c config.Config) (*place, error) {
	u, err := url.Parse(c.IPNI.Values)
	if err != nil {
		return nil, fmt.Errorf("backends: values: not a URL: %w", fs.ErrInvalid)
	}
	if u.Scheme != segments {
		_, _, err := find(kvs(), "values", c.Home, c.IPNI.Values)
		if err == nil && c.IPNI.Mode == "compact" {
			err = fmt.Errorf("backends: values: mode \"compact\" needs segments:PATH: %w", fs.ErrInvalid)
		}
		return nil, err
	}
	p, err := resolvePath(c.Home, u)
	if err != nil {
		return nil, fmt.Errorf("backends: values %s: %w (%w)", config.Redact(c.IPNI.Values), err, fs.ErrInvalid)
	}
	return &p, nil
}

// checkIndexer returns an error if the stores of the provider index cannot be used.
func checkIndexer(c config.Config) error {
	_, values := findValues(c)
	var state, mirror error
	if c.IPNI.State != "" {
		_, _, state = find(kvs(), "state", c.Home, c.IPNI.State)
	}
	if c.Mirror.Store != "" {
		_, _, mirror = find(blobs(), "mirror", c.Home, c.Mirror.Store)
	}
	_, _, ads := find(blobs(), "advertisements", c.Home, c.Publish.Store)
	return errors.Join(values, state, mirror, ads)
}
