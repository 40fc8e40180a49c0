package content

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/cli/app"
)

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
			return nil, app.Usagef("standard input can be added once")
		}
		ins = append(ins, in)
	}
	return ins, nil
}

func newInput(arg string, f *adding) (input, error) {
	in := input{arg: arg, name: "stdin"}
	if arg == app.Dash {
		return in, nil
	}
	if arg == "" {
		return in, app.Usagef("the path is empty")
	}
	// As everywhere on the system, a final slash leads through a link.
	look := os.Lstat
	if f.follow {
		look = os.Stat
	}
	info, err := look(arg)
	if err != nil {
		return in, app.Missing(arg, err)
	}
	if in.path, err = filepath.Abs(arg); err != nil {
		return in, err
	}
	in.name, in.dir = filepath.Base(in.path), info.IsDir()
	if f.wrap && in.name == string(filepath.Separator) {
		return in, app.Usagef("%s has no name to wrap it under", arg)
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		in.path, err = filepath.EvalSymlinks(in.path)
	}
	return in, err
}

// ingest adds one argument of the command line.
func (a commands) ingest(ctx context.Context, dst ingest.Destination, o *ingest.Options, in input) (ingest.Result, error) {
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
func (a commands) ingestStdin(ctx context.Context, dst ingest.Destination, o *ingest.Options) (ingest.Result, error) {
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
	spool, err := os.CreateTemp("", "hashstream-app.Dash-*")
	if err != nil {
		return ingest.Result{}, app.Failed(err)
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return ingest.Result{}, app.Failed(err)
	}
	n, err := io.Copy(spool, a.Stdin(ctx))
	if err != nil {
		return ingest.Result{}, app.Hint(fmt.Errorf("keep standard input in %s: %w", os.TempDir(), err), "set TMPDIR to a directory with more room")
	}
	return ingest.AddFile(ctx, spool, n, name, dst, o)
}
