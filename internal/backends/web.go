package backends

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobfs"
	"github.com/hashstream/hashstream/blob/httpblob"
	"github.com/hashstream/hashstream/blob/retryblob"
)

// openHTTP opens packs on a web server.
func openHTTP(_ context.Context, base string, _ Options) (blob.Getter, io.Closer, error) {
	s, err := webStore(base)
	if err != nil {
		return nil, nil, err
	}
	return reader{s}, nothing{}, nil
}

// webStore reads files of a web server, again where that fails.
func webStore(base string) (blobfs.Store, error) {
	g, err := httpblob.New(base, nil)
	if err != nil {
		return nil, err
	}
	return retryblob.New(unlisted{g}, nil).(blobfs.Store), nil
}

// reader is the part of a store that reads: its type tells that it cannot be written.
type reader struct{ blobfs.Store }

// unlisted is a web server: files that can be read, if one knows their names.
type unlisted struct{ *httpblob.Getter }

func (unlisted) Put(context.Context, string, io.Reader) error { return errors.ErrUnsupported }
func (unlisted) Delete(context.Context, string) error         { return errors.ErrUnsupported }

func (unlisted) List(context.Context, string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) { yield(blob.Info{}, errors.ErrUnsupported) }
}
