package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/unixfs"
)

// adding is the flags of a command that adds.
type adding struct {
	profile, hash, chunk, packSize, index    string
	hidden, wrap, dryRun, dedup, json, quiet bool
}

func (f *adding) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.profile, "profile", "", "UnixFS profile: unixfs-v1-2025 or unixfs-v0-2015 (default: add.profile of the configuration)")
	fs.StringVar(&f.hash, "hash", "sha2-256", "hash function: sha2-256, sha2-512 or blake3")
	fs.StringVar(&f.chunk, "chunk-size", "", "bytes of a leaf, such as 256KiB (default: the profile's)")
	fs.StringVar(&f.packSize, "pack-size", "", "bytes at which a pack is ended (default: add.pack_size of the configuration)")
	fs.StringVar(&f.index, "index-writer", "", "records to write: all, single-level, multiple-level or none (default: add.index of the configuration)")
	fs.BoolVar(&f.hidden, "hidden", false, "include files whose name begins with a dot")
	fs.BoolVarP(&f.wrap, "wrap", "w", false, "put each argument into a directory of its own, so that its name is kept")
	fs.BoolVarP(&f.dryRun, "dry-run", "n", false, "only compute the CID; write nothing")
	fs.BoolVar(&f.dedup, "dedup", false, "point at blocks that are stored already instead of storing them together again")
	fs.BoolVar(&f.json, "json", false, "print a line of JSON for each argument")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print the root CID alone")
}

func (a *app) addCommand() *cobra.Command {
	var f adding
	cmd := &cobra.Command{
		Use:   "add PATH...",
		Short: "Store files and directories and print their CIDs",
		Long: `Add cuts files into blocks, writes them into packs and records where each is. It
works with or without a running node; what it has printed is durable. Adding the
same content again stores nothing.

Directories are added with all that is in them but hidden files; symbolic links
are kept as links. PATH - is standard input.`,
		Example: `  hashstream add photos/
  hashstream add --quiet report.pdf
  tar c src | hashstream add -
  hashstream add --dry-run --profile unixfs-v0-2015 photos/     the CID that old Kubo gives`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.add(cmd.Context(), &f, args, nil) },
	}
	f.flags(cmd)
	return cmd
}

// add adds every argument. adjust may change the options.
func (a *app) add(ctx context.Context, f *adding, args []string, adjust func(*ingest.Options)) error {
	c, err := a.config(f.overrides())
	if err != nil {
		return err
	}
	o, err := f.options(c)
	if err != nil {
		return err
	}
	if adjust != nil {
		adjust(&o)
	}
	level, err := index.ParseLevel(c.Add.Index)
	if err != nil {
		return usage(err)
	}
	return a.withStores(ctx, c, func(s *node.Stores) error {
		dst, err := s.Destination(level)
		if err != nil {
			return err
		}
		for _, arg := range args {
			if err := a.addOne(ctx, dst, o, f, arg); err != nil {
				return err
			}
		}
		return nil
	})
}

// overrides are the flags that stand for keys of the configuration.
func (f *adding) overrides() map[string]string {
	set := map[string]string{}
	for key, value := range map[string]string{"add.profile": f.profile, "add.pack_size": f.packSize, "add.index": f.index} {
		if value != "" {
			set[key] = value
		}
	}
	return set
}

func (f *adding) options(c config.Config) (ingest.Options, error) {
	o := ingest.Options{Hidden: f.hidden, DryRun: f.dryRun, Dedup: f.dedup, PackSize: int64(c.Add.PackSize)}
	var err error
	if o.Profile, err = unixfs.ParseProfile(c.Add.Profile); err != nil {
		return o, usage(err)
	}
	if o.Profile.Hash, err = digest.ParseCode(f.hash); err != nil {
		return o, usagef("--hash: %v", err)
	}
	if f.chunk != "" {
		var n config.Size
		if err := n.UnmarshalText([]byte(f.chunk)); err != nil {
			return o, usagef("--chunk-size: %v", err)
		}
		o.Profile.ChunkSize = int64(n)
	}
	if err := o.Profile.Validate(); err != nil {
		return o, usage(err)
	}
	return o, nil
}

// added is what add prints with --json.
type added struct {
	CID        string `json:"cid"`
	Path       string `json:"path"`
	Size       int64  `json:"size"`     // bytes of files
	DAGSize    uint64 `json:"dag_size"` // bytes of blocks, each as often as it is linked
	Blocks     int64  `json:"blocks"`
	Duplicates int64  `json:"duplicates"`
	Packs      int    `json:"packs"`
	PackBytes  int64  `json:"pack_bytes"`
	Stored     bool   `json:"stored"` // false if all was there already
}

func (a *app) addOne(ctx context.Context, dst ingest.Destination, o ingest.Options, f *adding, arg string) error {
	p := a.progress("added", f.quiet)
	defer p.stop()
	var total int64
	o.Trace.Scanned = func(_, bytes int64) { total = bytes; p.set(0, total) }
	o.Trace.Read = func(_ string, n int64) { p.add(n) }
	if f.wrap {
		o.Wrap = wrapName(arg)
	}
	res, err := a.ingest(ctx, dst, &o, arg)
	p.stop()
	if err != nil {
		return err
	}
	return a.printAdded(f, arg, res)
}

func (a *app) printAdded(f *adding, arg string, res ingest.Result) error {
	var err error
	switch {
	case f.json:
		return a.printJSON(added{res.Root.String(), arg, res.Size, res.DAGSize, res.Blocks, res.Duplicates, res.Packs, res.PackBytes, res.Stored})
	case f.quiet:
		_, err = fmt.Fprintln(a.Out, res.Root)
		return err
	}
	_, err = fmt.Fprintln(a.Out, res.Root, arg)
	switch {
	case f.dryRun:
		a.notef("%s in %d blocks; nothing was stored", size(res.Size), res.Blocks)
	case !res.Stored:
		a.notef("%s was there already; nothing was stored", size(res.Size))
	default:
		a.notef("%s in %d blocks, %d of them repeated; %s in %d packs", size(res.Size), res.Blocks, res.Duplicates, size(res.PackBytes), res.Packs)
	}
	return err
}

func wrapName(arg string) string {
	if arg == "-" {
		return "stdin"
	}
	abs, err := filepath.Abs(arg)
	if err != nil {
		return filepath.Base(arg)
	}
	return filepath.Base(abs)
}

// ingest adds one argument of the command line.
func (a *app) ingest(ctx context.Context, dst ingest.Destination, o *ingest.Options, arg string) (ingest.Result, error) {
	if arg == "-" {
		return a.ingestStdin(ctx, dst, o)
	}
	abs, err := filepath.Abs(arg)
	if err != nil {
		return ingest.Result{}, err
	}
	// A path is opened from its directory, so that the path itself may be a link.
	dir, name := filepath.Split(abs)
	if name == "" {
		dir, name = abs, "."
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
	if f, ok := a.In.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return ingest.Result{}, err
			}
			size := max(info.Size()-at, 0)
			return ingest.AddFile(ctx, io.NewSectionReader(f, at, size), size, "standard input", dst, o)
		}
	}
	spool, err := os.CreateTemp("", "hashstream-stdin-*")
	if err != nil {
		return ingest.Result{}, err
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return ingest.Result{}, err
	}
	size, err := io.Copy(spool, contextReader{ctx, a.In})
	if err != nil {
		return ingest.Result{}, hint(fmt.Errorf("store standard input in %s: %w", os.TempDir(), err), "set TMPDIR to a directory with more room")
	}
	return ingest.AddFile(ctx, spool, size, "standard input", dst, o)
}

// contextReader stops between reads when ctx ends.
type contextReader struct {
	ctx context.Context // of the one copy that reads it
	r   io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}
