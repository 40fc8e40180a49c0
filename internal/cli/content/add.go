package content

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/progress"
	"github.com/hashstream/hashstream/unixfs"
)

// adding is the flags of a command that adds.
type adding struct {
	profile, hash, chunk, packSize, index    string
	hidden, wrap, dryRun, dedup, json, quiet bool
	follow                                   bool // links that are named
	inPlace                                  bool
	placing                                  Placing
}

func (f *adding) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.profile, "profile", "", "UnixFS profile: unixfs-v1-2025 or unixfs-v0-2015 (default: add.profile of the configuration)")
	fs.StringVar(&f.hash, "hash", "sha2-256", "hash function: sha2-256, sha2-512 or blake3")
	fs.StringVar(&f.chunk, "chunk-size", "", "bytes of a leaf, such as 256KiB (default: the profile's; with --hash blake3 a file is one block)")
	fs.StringVar(&f.packSize, "pack-size", "", "bytes at which a pack is ended (default: add.pack_size of the configuration)")
	fs.StringVar(&f.index, "index-writer", "", "records to write: all, single-level, multiple-level or none (default: add.index of the configuration)")
	fs.BoolVar(&f.hidden, "hidden", false, "include files whose name begins with a dot")
	fs.BoolVarP(&f.wrap, "wrap", "w", false, "put the arguments into one directory, so that their names are kept")
	fs.BoolVarP(&f.follow, "dereference-args", "L", false, "follow symbolic links that are named themselves; those inside of directories stay links")
	fs.BoolVarP(&f.dryRun, "dry-run", "n", false, "only compute the CID; write nothing")
	fs.BoolVar(&f.dedup, "dedup", false, "point at blocks that are stored already instead of storing them together again")
	fs.BoolVar(&f.json, "json", false, "print a line of JSON for each argument")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print the root CID alone")
}

func (a commands) addCommand() *cobra.Command {
	var f adding
	cmd := &cobra.Command{
		Use:   "add PATH|URL...",
		Short: "Store files and directories and print their CIDs",
		Long: `Add cuts files into blocks, writes them into packs and records where each is. It
works with or without a running node; what it has printed is durable. Adding the
same content again stores nothing.

Directories are added with all that is in them but hidden files; symbolic links
are kept as links, also where PATH itself is one, unless it ends in a slash or
--dereference-args is given. PATH - is standard input. A PATH that does not exist
gives exit code 3, and nothing is stored.

With --hash blake3 each file becomes one block, whatever its size: BLAKE3 is a tree, which
is kept beside the index and proves any part of the file ('hashstream get --range').
An explicit --chunk-size makes a DAG of chunks with that hash instead, of directories too.

With --in-place nothing is copied: the content of files stays where it is, on disk, in
a bucket or on a web server, and the index points into it. It must lie below a root that
the configuration names ([sources] roots). A file that changes is no longer served;
'hashstream scan' indexes it anew.`,
		Example: `  hashstream add photos/
  hashstream add --quiet report.pdf
  tar c src | hashstream add -
  hashstream add --hash blake3 disk.img
  hashstream add --in-place /srv/data s3://bucket/prefix
  hashstream add --dry-run --profile unixfs-v0-2015 photos/     the CID that old Kubo gives`,
		Args:        cobra.MinimumNArgs(1),
		Annotations: app.Interruptible(app.ResumeAdding),
		RunE:        func(cmd *cobra.Command, args []string) error { return a.add(cmd.Context(), &f, args, nil) },
	}
	f.flags(cmd)
	f.placing.Flags(cmd)
	cmd.Flags().BoolVar(&f.inPlace, "in-place", false, "leave the content where it is, and index it there")
	return cmd
}

// add adds every argument. adjust may change the options.
func (a commands) add(ctx context.Context, f *adding, args []string, adjust func(*ingest.Options)) error {
	if f.inPlace {
		return a.addInPlace(ctx, f, args)
	}
	c, err := a.Config(f.overrides())
	if err != nil {
		return err
	}
	o, err := f.options(c)
	if err != nil {
		return err
	}
	if adjust != nil {
		adjust(&o)
	} else if f.whole() {
		return a.addWhole(ctx, f, c, args)
	}
	level, err := index.ParseLevel(c.Add.Index)
	if err != nil {
		return app.Usage(err)
	}
	inputs, err := inputs(args, f)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.addAll(ctx, ingest.Destination{}, o, f, inputs)
	}
	return a.WithStores(ctx, c, func(s *node.Stores) error {
		dst, err := s.Destination(level)
		if err != nil {
			return app.Failed(err)
		}
		return a.addAll(ctx, dst, o, f, inputs)
	})
}

func (a commands) addAll(ctx context.Context, dst ingest.Destination, o ingest.Options, f *adding, inputs []input) error {
	if f.wrap && len(inputs) > 1 {
		return a.addTogether(ctx, dst, o, f, inputs)
	}
	for _, in := range inputs {
		if err := a.addOne(ctx, dst, o, f, in); err != nil {
			return fmt.Errorf("add %s: %w", in.arg, err)
		}
	}
	return nil
}

// addTogether adds all arguments as the entries of one directory.
func (a commands) addTogether(ctx context.Context, dst ingest.Destination, o ingest.Options, f *adding, inputs []input) error {
	dir, err := openTogether(inputs)
	if err != nil {
		return err
	}
	defer dir.Close()
	args := make([]string, len(inputs))
	for i, in := range inputs {
		if args[i] = in.arg; strings.HasPrefix(in.name, ".") && !f.hidden {
			return app.Usagef("%s is hidden; add --hidden to wrap it with others", in.arg)
		}
	}
	return a.addWatched(&o, f, strings.Join(args, " "), func() (ingest.Result, error) {
		return ingest.Add(ctx, dir, ".", dst, &o)
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
		return o, app.Usage(err)
	}
	if o.Profile.Hash, err = digest.ParseCode(f.hash); err != nil {
		return o, app.Usagef("--hash: %v", err)
	}
	if f.chunk != "" {
		var n config.Size
		if err := n.UnmarshalText([]byte(f.chunk)); err != nil {
			return o, app.Usagef("--chunk-size: %v", err)
		}
		o.Profile.ChunkSize = int64(n)
	}
	if err := o.Profile.Validate(); err != nil {
		return o, app.Usage(err)
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

func (a commands) addOne(ctx context.Context, dst ingest.Destination, o ingest.Options, f *adding, in input) error {
	if f.wrap {
		o.Wrap = in.name
	}
	return a.addWatched(&o, f, in.arg, func() (ingest.Result, error) { return a.ingest(ctx, dst, &o, in) })
}

// addWatched shows how far add is, which takes o, and prints what came of it.
func (a commands) addWatched(o *ingest.Options, f *adding, arg string, add func() (ingest.Result, error)) error {
	p := a.Progress("added", f.quiet)
	defer p.Stop()
	o.Trace.Scanned = func(_, bytes int64) { p.Expect(bytes) }
	o.Trace.Read = func(_ string, n int64) { p.Add(n) }
	if a.Verbose {
		o.Trace.Added = func(e ingest.Entry) { a.Notef("%s %q", e.CID, e.Path) }
	}
	res, err := add()
	p.Stop()
	if err != nil {
		return err
	}
	return a.printAdded(f, arg, res)
}

func (a commands) printAdded(f *adding, arg string, res ingest.Result) error {
	var err error
	switch {
	case f.json:
		return a.PrintJSON(describeAdded(arg, res))
	case f.quiet:
		_, err = fmt.Fprintln(a.Out, res.Root)
		return err
	}
	_, err = fmt.Fprintln(a.Out, res.Root, arg)
	switch {
	case f.dryRun:
		a.Notef("%s in %s; nothing was stored", progress.Size(res.Size), app.Count(res.Blocks, "block"))
	case !res.Stored:
		a.Notef("%s was there already; nothing was stored", progress.Size(res.Size))
	default:
		a.Notef("%s in %s, %d repeated; %s in %s", progress.Size(res.Size), app.Count(res.Blocks, "block"), res.Duplicates, progress.Size(res.PackBytes), app.Count(int64(res.Packs), "pack"))
	}
	return err
}
