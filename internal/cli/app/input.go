package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hashstream/hashstream/internal/progress"
)

// Stdin is the argument that stands for standard input.
const Dash = "-"

// Missing says what is wrong with a path without the name of a system call.
func Missing(arg string, err error) error { return fmt.Errorf("%s: %w", arg, Reason(err)) }

func Reason(err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		return cause.Err
	}
	return err
}

// Open opens a file of the command line; - is standard input. The error does not
// name it.
func (a *App) Open(ctx context.Context, arg string) (io.ReadCloser, error) {
	if arg == Dash {
		return io.NopCloser(a.Stdin(ctx)), nil
	}
	f, err := os.Open(arg)
	if err != nil {
		return nil, Reason(err)
	}
	return f, nil
}

// Stdin returns standard input, of which a read ends when ctx does. The system's
// read may last until the end of the process: nobody can end it.
func (a *App) Stdin(ctx context.Context) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(w, a.In)
		w.CloseWithError(err)
	}()
	return r
}

// counter tells progress what was read.
type counter struct {
	r io.Reader
	p *progress.Bar
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.p.Add(int64(n))
	return n, err
}

// Counted returns r, of which p is told what is read.
func Counted(r io.Reader, p *progress.Bar) io.Reader { return &counter{r, p} }

// Until returns r, of which no read begins once ctx has ended.
func Until(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

// contextReader stops between reads when ctx ends.
type contextReader struct {
	ctx context.Context // of the one copy that reads it
	r   io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(b)
}
