package cloudblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob/exchange"
)

// Draft starts an object that is written out of order, to a file in
// [Options.TempDir]. The file has no name where the system permits that.
func (s *Store) Draft(ctx context.Context) (blob.Draft, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("cloudblob: draft: %w", context.Cause(ctx))
	}
	f, err := os.CreateTemp(s.options.TempDir, "hashstream-draft-")
	if err != nil {
		return nil, fmt.Errorf("cloudblob: draft: %w", pathless(err))
	}
	return &draft{store: s, file: f, named: os.Remove(f.Name()) != nil}, nil
}

type draft struct {
	store *Store
	file  *os.File
	named bool
	mu    sync.Mutex // orders Commit and Discard
	ended bool
}

func (d *draft) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.file.ReadAt(p, off)
	return n, d.wrap("read", err)
}

func (d *draft) WriteAt(p []byte, off int64) (int, error) {
	n, err := d.file.WriteAt(p, off)
	return n, d.wrap("write", err)
}

func (d *draft) Truncate(size int64) error { return d.wrap("truncate", d.file.Truncate(size)) }

// wrap leaves io.EOF as it is: the contract of ReadAt names it.
func (d *draft) wrap(verb string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("cloudblob: %s draft: %w", verb, pathless(err))
}

// pathless drops the path of a temporary file, which tells nobody anything.
func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// Commit uploads the object, unless key exists. It ends the draft in any case.
func (d *draft) Commit(ctx context.Context, key string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return fmt.Errorf("cloudblob: commit draft: %w", fs.ErrClosed)
	}
	defer d.discard()
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("cloudblob: commit draft: %w", err)
	}
	fi, err := d.file.Stat()
	if err != nil {
		return fmt.Errorf("cloudblob: commit %s: %w", key, pathless(err))
	}
	return d.store.keep(ctx, key, io.NewSectionReader(d.file, 0, fi.Size()))
}

// Discard ends the draft and frees its space.
func (d *draft) Discard() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.discard()
}

func (d *draft) discard() error {
	if d.ended {
		return nil
	}
	d.ended = true
	var err error
	if d.named {
		err = os.Remove(d.file.Name())
	}
	return errors.Join(err, d.file.Close())
}

// keep uploads an object unless there is one. It asks before, to save the upload, and
// makes the upload conditional, for those who come between. A store without
// conditional writes lets the last of them win: they carry the same content.
func (s *Store) keep(ctx context.Context, key string, r *io.SectionReader) error {
	for i := 0; ; i++ {
		if _, err := s.stat(ctx, key, "commit"); err == nil || !isAbsent(err) {
			return err
		}
		err := s.upload(ctx, key, r, true)
		f, _ := errors.AsType[*exchange.Failure](err)
		switch {
		case f == nil || f.Status == http.StatusPreconditionFailed:
			if f != nil {
				return nil
			}
			return err
		case f.Status == http.StatusConflict && i < s.options.Attempts-1: // another writer is under way
			if err := s.options.wait(ctx, i); err != nil {
				return fmt.Errorf("cloudblob: commit %s: %w", key, err)
			}
		case f.Status == http.StatusNotImplemented:
			return s.upload(ctx, key, io.NewSectionReader(r, 0, r.Size()), false)
		default:
			return err
		}
		r = io.NewSectionReader(r, 0, r.Size())
	}
}
