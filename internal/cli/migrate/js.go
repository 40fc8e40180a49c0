package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/jsstore"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
)

func (c commands) importJS() *cobra.Command {
	r := run{App: c.App}
	var prefix, files string
	var noRead bool
	cmd := &cobra.Command{
		Use:   "js INDEX",
		Short: "Take in an index of hash-stream (JavaScript)",
		Long: `Js reads the index store of hash-stream at INDEX, a directory or the URL of a bucket, and
records everything it says. Packs are read from the node's own pack store, which is to be
hash-stream's (store.packs), once each, and verified; DAGs whose blocks are all there are
recorded as a whole and printed. Packs and files stay where they are.

Files that hash-stream indexed in place are looked for below --files, a directory or URL
below a root of [sources]. Of large files hash-stream has lost inner nodes: such a file is
told, and 'hashstream add --in-place' of it makes it whole.`,
		Example: `  hashstream index import js ~/.hash-stream/index
  hashstream index import js 's3://bucket/index?region=eu-west-1' --files /srv/files`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := &jsstore.ImportOptions{SkipPacks: noRead, Problem: r.problem}
			return r.importJS(cmd.Context(), args[0], prefix, files, o)
		},
	}
	r.flags(cmd, writes)
	cmd.Flags().StringVar(&prefix, "prefix", "", "what begins every key of the index, as hash-stream is configured; a folder ends with a slash")
	cmd.Flags().StringVar(&files, "files", "", "directory or URL where the files are that were indexed in place")
	cmd.Flags().BoolVar(&noRead, "no-read", false, "do not read packs: blocks are found, but no DAG is recorded as a whole")
	return cmd
}

func (r *run) importJS(ctx context.Context, arg, prefix, files string, o *jsstore.ImportOptions) error {
	if err := exists(arg); err != nil {
		return err
	}
	url, err := storeURL(arg)
	if err != nil {
		return err
	}
	return r.with(ctx, func(c config.Config, s *node.Stores, level index.Level) error {
		g, closer, err := backends.Getter(ctx, c.Home, url, nil)
		if err != nil {
			return err
		}
		defer closer.Close()
		src, ok := g.(jsstore.Source)
		if !ok {
			return fmt.Errorf("%s cannot be listed: %w", config.Redact(url), errors.ErrUnsupported)
		}
		if files != "" {
			if o.Files, err = below(s, files); err != nil {
				return app.Usage(err)
			}
		}
		var printed error
		o.Root = func(c cid.Cid, reason error) { printed = errors.Join(printed, r.root(c, reason)) }
		n, err := jsstore.Import(ctx, jsstore.NewReader(src, &jsstore.Options{Prefix: prefix}), home(s, level), o)
		if err = errors.Join(err, printed); err != nil {
			return err
		}
		return r.done(summary(n))
	})
}

// below finds files below base, which is below a root of the sources.
func below(s *node.Stores, base string) (func(context.Context, string) (jsstore.File, error), error) {
	name, err := backends.SourceName(base)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, path string) (jsstore.File, error) {
		full := strings.TrimSuffix(name, "/") + "/" + path
		info, err := s.Sources.Stat(ctx, full)
		if err != nil {
			return jsstore.File{}, err
		}
		loc := index.Location{Path: full, Version: info.Identity}
		return jsstore.File{Location: loc, Bytes: unchanged{s.Sources, loc.Version}, Key: full}, nil
	}, nil
}

// unchanged reads files that still have an identity.
type unchanged struct {
	files    blob.Conditional
	identity string
}

func (u unchanged) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	return u.files.GetIf(ctx, key, u.identity, off, n)
}

func (c commands) exportJS() *cobra.Command {
	r := run{App: c.App}
	var prefix, layout string
	cmd := &cobra.Command{
		Use:   "js INDEX [ROOT]...",
		Short: "Write the index for hash-stream (JavaScript)",
		Long: `Js writes the records of hash-stream into INDEX, a directory or the URL of a bucket: those of
every block, and those of each ROOT, or of every root. Copy the packs, or point hash-stream
at them: on disk they have its names.`,
		Example: `  hashstream index export js ~/.hash-stream/index
  hashstream index export js 's3://bucket/index?region=eu-west-1' --layout s3 --index-writer multiple-level`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := &jsstore.ExportOptions{Options: jsstore.Options{Prefix: prefix, Layout: jsstore.Layout(layout)}}
			return r.exportJS(cmd.Context(), args, o)
		},
	}
	r.flags(cmd, "records to write: all, single-level or multiple-level (default: all)")
	cmd.Flags().StringVar(&prefix, "prefix", "", "what begins every key, as hash-stream is configured; a folder ends with a slash")
	cmd.Flags().StringVar(&layout, "layout", "", "names of objects: disk or s3 (default: s3 for the URL of a bucket)")
	return cmd
}

func (r *run) exportJS(ctx context.Context, args []string, o *jsstore.ExportOptions) error {
	url, err := storeURL(args[0])
	if err == nil {
		o.Level, err = index.ParseLevel(r.level)
	}
	if err == nil && o.Layout == "" {
		o.Layout = jsstore.Disk
		if !strings.HasPrefix(url, "file:") {
			o.Layout = jsstore.S3
		}
	}
	if err == nil {
		o.Layout, err = jsstore.ParseLayout(string(o.Layout))
	}
	for _, arg := range args[1:] {
		d, perr := digest.Parse(arg)
		err = errors.Join(err, perr)
		o.Roots = append(o.Roots, d)
	}
	if err != nil {
		return app.Usage(err)
	}
	r.level = "" // the index is only read
	return r.with(ctx, func(c config.Config, s *node.Stores, _ index.Level) error {
		out, closer, err := backends.Store(ctx, c.Home, url, nil)
		if err != nil {
			return err
		}
		defer closer.Close()
		n, err := jsstore.Export(ctx, s.Index, out, o)
		if err != nil {
			return err
		}
		if r.json {
			return r.PrintJSON(struct {
				Blocks int64 `json:"blocks"`
				Packs  int64 `json:"packs"`
				Roots  int64 `json:"roots"`
			}(n))
		}
		r.Notef("%s, %s, %s", app.Count(n.Blocks, "block"), app.Count(n.Packs, "pack"), app.Count(n.Roots, "root"))
		return nil
	})
}
