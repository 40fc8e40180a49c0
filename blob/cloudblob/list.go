package cloudblob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob/exchange"
)

// Entry is an object, or a common prefix of objects, directly below a prefix.
type Entry struct {
	Name string    // the last segment of the key
	Dir  bool      // whether it is a prefix; then Info has nothing but the key, without a slash
	Info blob.Info // of an object
}

// Stat describes key.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := check(ctx, key); err != nil {
		return blob.Info{}, fmt.Errorf("cloudblob: stat: %w", err)
	}
	return s.stat(ctx, key, "stat")
}

func (s *Store) stat(ctx context.Context, key, verb string) (blob.Info, error) {
	ctx, c := exchange.With(ctx, "stat")
	i, err := s.provider.stat(ctx, s.prefix+key)
	if err != nil {
		return i, s.fail(verb, key, c, err)
	}
	i.Key = key
	return i, nil
}

// Delete removes key.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("cloudblob: delete: %w", err)
	}
	ctx, c := exchange.With(ctx, "delete")
	if err := s.provider.remove(ctx, s.prefix+key); err != nil {
		if err := s.fail("delete", key, c, err); !isAbsent(err) {
			return err
		}
	}
	return nil
}

// isAbsent reports whether an object is absent, and not its whole bucket.
func isAbsent(err error) bool {
	f, ok := errors.AsType[*exchange.Failure](err)
	return ok && f.Absent()
}

// List yields the objects whose key begins with prefix, ordered by key.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for e, err := range s.entries(ctx, prefix, "") {
			if !yield(e.Info, err) {
				return
			}
		}
	}
}

// Dir yields what is directly below a directory, ordered by key: objects, and prefixes
// as if their key ended with a slash. Prefix is the directory's key, with or without a slash
// at its end; empty is the root. One that does not exist is empty.
func (s *Store) Dir(ctx context.Context, prefix string) iter.Seq2[Entry, error] {
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	return s.entries(ctx, prefix, "/")
}

func (s *Store) entries(ctx context.Context, prefix, delimiter string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if ctx.Err() != nil {
			yield(Entry{}, fmt.Errorf("cloudblob: list %s%s%s: %w", s.name, s.prefix, prefix, context.Cause(ctx)))
			return
		}
		for token, last := "", ""; ; {
			p, err := s.page(ctx, prefix, delimiter, token)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			slices.SortFunc(p.entries, func(a, b Entry) int { return cmp.Compare(a.Info.Key, b.Info.Key) })
			for _, e := range p.entries {
				if e.Info.Key < last {
					yield(Entry{}, fmt.Errorf("cloudblob: list %s%s%s: the store lists %q after %q", s.name, s.prefix, prefix, e.Info.Key, last))
					return
				}
				last = e.Info.Key
				if s.local(ctx, &e, prefix) && !yield(e, nil) {
					return
				}
			}
			if token = p.next; token == "" {
				return
			}
		}
	}
}

// page reads a part of a listing. The kits repeat requests that fail, but not those whose
// answer breaks off.
func (s *Store) page(ctx context.Context, prefix, delimiter, token string) (page, error) {
	for i := 0; ; i++ {
		ctx, c := exchange.With(ctx, "list")
		p, err := s.provider.list(ctx, s.prefix+prefix, delimiter, token)
		if err == nil {
			return p, nil
		}
		if i >= s.options.Attempts-1 || !c.Broke(err) || s.options.wait(ctx, i) != nil {
			return page{}, s.fail("list", prefix, c, err)
		}
	}
}

// local makes the name of an entry one of this store, and reports whether that is
// well formed and was asked for.
func (s *Store) local(ctx context.Context, e *Entry, prefix string) bool {
	name := e.Info.Key
	key, ok := strings.CutPrefix(name, s.prefix)
	if e.Dir {
		key = strings.TrimSuffix(key, "/")
	} else if e.Info.Size == 0 && strings.HasSuffix(name, "/") {
		return false
	}
	if !ok || !strings.HasPrefix(key, strings.TrimSuffix(prefix, "/")) || blob.CheckKey(key) != nil || e.Info.Size < 0 {
		if s.options.Trace.Skipped != nil {
			s.options.Trace.Skipped(ctx, name)
		}
		return false
	}
	e.Info.Key = key
	e.Name = key[strings.LastIndexByte(key, '/')+1:]
	return true
}
