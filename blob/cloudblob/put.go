package cloudblob

import (
	"context"
	"fmt"
	"io"

	gcblob "gocloud.dev/blob"

	"github.com/hashstream/hashstream/blob/cloudblob/exchange"
)

// Put stores what r yields under key. It holds a few parts in memory, as
// [Options.Concurrency] says.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("cloudblob: put: %w", err)
	}
	return s.upload(ctx, key, r, false)
}

func (s *Store) upload(ctx context.Context, key string, r io.Reader, keep bool) error {
	src := &source{r: r, ctx: ctx}
	ctx, c := exchange.With(ctx, "put")
	if s.provider.aborts {
		ctx, src.abort = context.WithoutCancel(ctx), func() {}
	} else { // otherwise gocloud would store what came before an error of the reader
		ctx, src.abort = context.WithCancel(ctx)
		defer src.abort()
	}
	name := s.prefix + key
	err := s.bucket.Upload(ctx, name, src.reader(), &gcblob.WriterOptions{
		BufferSize:                  int(s.options.PartSize),
		MaxConcurrency:              s.options.Concurrency,
		ContentType:                 contentType,
		DisableContentTypeDetection: true,
		IfNotExist:                  keep,
		BeforeWrite:                 func(as func(any) bool) error { return s.provider.write(as, name, keep) },
	})
	if src.err != nil {
		return fmt.Errorf("cloudblob: put %s%s: %w", s.name, name, src.err)
	}
	if err != nil {
		return s.fail("put", key, c, err)
	}
	return nil
}

// source is what is uploaded. It tells an error of the reader from one of the store.
type source struct {
	r     io.Reader
	ctx   context.Context
	abort func()
	err   error
}

// reader keeps a size that can be known, from which the size of parts follows.
func (s *source) reader() io.Reader {
	if f, ok := s.r.(*io.SectionReader); ok {
		return &sizedSource{s, f}
	}
	return s
}

func (s *source) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		s.abort()
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
		s.abort()
	}
	return n, err
}

type sizedSource struct {
	*source
	io.Seeker
}
