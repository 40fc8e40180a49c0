package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashstream/hashstream/ingest"
)

// stdin is the argument that stands for standard input.
const stdin = "-"

// input is an argument of add.
type input struct {
	arg  string // as it was given
	path string // absolute; empty is standard input
	dir  bool
	name string // in a directory that wraps it
}

// inputs looks at every argument before the first is added.
func inputs(args []string, f *adding) ([]input, error) {
	var ins []input
	for _, arg := range args {
		in, err := newInput(arg, f)
		if err != nil {
			return nil, err
		}
		if in.path == "" && slices.ContainsFunc(ins, func(in input) bool { return in.path == "" }) {
			return nil, usagef("standard input can be added once")
		}
		ins = append(ins, in)
	}
	return ins, nil
}

func newInput(arg string, f *adding) (input, error) {
	in := input{arg: arg, name: "stdin"}
	if arg == stdin {
		return in, nil
	}
	if arg == "" {
		return in, usagef("the path is empty")
	}
	// As everywhere on the system, a final slash leads through a link.
	look := os.Lstat
	if f.follow {
		look = os.Stat
	}
	info, err := look(arg)
	if err != nil {
		return in, missing(arg, err)
	}
	if in.path, err = filepath.Abs(arg); err != nil {
		return in, err
	}
	in.name, in.dir = filepath.Base(in.path), info.IsDir()
	if f.wrap && in.name == string(filepath.Separator) {
		return in, usagef("%s has no name to wrap it under", arg)
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		in.path, err = filepath.EvalSymlinks(in.path)
	}
	return in, err
}

// missing says what is wrong with a path without the name of a system call.
func missing(arg string, err error) error { return fmt.Errorf("%s: %w", arg, reason(err)) }

func reason(err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		return cause.Err
	}
	return err
}

// ingest adds one argument of the command line.
func (a *app) ingest(ctx context.Context, dst ingest.Destination, o *ingest.Options, in input) (ingest.Result, error) {
	if in.path == "" {
		return a.ingestStdin(ctx, dst, o)
	}
	dir, name := filepath.Split(in.path)
	if in.dir {
		dir, name = in.path, "." // what is above need not be readable
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ingest.Result{}, err
	}
	defer root.Close()
	return ingest.Add(ctx, root.FS(), name, dst, o)
}

// ingestStdin adds standard input. The sizes of blocks must be known before their
// bytes, so a stream is written to a temporary file first.
func (a *app) ingestStdin(ctx context.Context, dst ingest.Destination, o *ingest.Options) (ingest.Result, error) {
	const name = "standard input"
	if f, ok := a.In.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return ingest.Result{}, err
			}
			rest := max(info.Size()-at, 0)
			return ingest.AddFile(ctx, io.NewSectionReader(f, at, rest), rest, name, dst, o)
		}
	}
	spool, err := os.CreateTemp("", "hashstream-stdin-*")
	if err != nil {
		return ingest.Result{}, failed(err)
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return ingest.Result{}, failed(err)
	}
	n, err := io.Copy(spool, a.stdin(ctx))
	if err != nil {
		return ingest.Result{}, hint(fmt.Errorf("keep standard input in %s: %w", os.TempDir(), err), "set TMPDIR to a directory with more room")
	}
	return ingest.AddFile(ctx, spool, n, name, dst, o)
}

// open opens a file of the command line; - is standard input. The error does not
// name it.
func (a *app) open(ctx context.Context, arg string) (io.ReadCloser, error) {
	if arg == stdin {
		return io.NopCloser(a.stdin(ctx)), nil
	}
	f, err := os.Open(arg)
	if err != nil {
		return nil, reason(err)
	}
	return f, nil
}

// stdin returns standard input, of which a read ends when ctx does. The system's
// read may last until the end of the process: nobody can end it.
func (a *app) stdin(ctx context.Context) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(w, a.In)
		w.CloseWithError(err)
	}()
	return r
}
