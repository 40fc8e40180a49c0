package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/cli/content"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/watch"
	"github.com/hashstream/hashstream/origin"
)

// scanning is the flags of scan.
type scanning struct {
	content.Placing
	watch, json, quiet bool
	interval           time.Duration
	forget, allowEmpty bool
}

func (a commands) scanCommand() *cobra.Command {
	var f scanning
	cmd := &cobra.Command{
		Use:   "scan [PATH|URL]...",
		Short: "Bring the index up to date with content that stays where it is",
		Long: `Scan lists sources that 'hashstream add --in-place' indexed, all of them unless some
are named. Files that are new or changed are hashed, those that went are dropped, and
the new root is printed. Files are recognised by size, modification time and inode, objects
of buckets by their tag; what was renamed or linked is not hashed again. A source that had
files and has none now, as a disk that is not mounted, is left as it was.

With --watch it goes on: directories are scanned soon after something in them changes,
buckets every --interval. It ends when it is interrupted.`,
		Example: `  hashstream scan
  hashstream scan photos/ s3://bucket/prefix
  hashstream scan --watch --interval 10m
  hashstream scan --forget photos/          serve it no more`,
		Annotations: app.Interruptible(app.ResumePlacing),
		RunE:        func(cmd *cobra.Command, args []string) error { return a.scan(cmd.Context(), &f, args) },
	}
	f.Flags(cmd)
	cmd.Flags().BoolVar(&f.watch, "watch", false, "go on, and scan what changes")
	cmd.Flags().DurationVar(&f.interval, "interval", 5*time.Minute, "time between two scans of a bucket with --watch")
	cmd.Flags().BoolVar(&f.forget, "forget", false, "remove the sources that are named from the index")
	cmd.Flags().BoolVar(&f.allowEmpty, "allow-empty", false, "accept that a source had files and has none now; without, that is a failure")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print the root CIDs alone")
	cmd.Flags().BoolVar(&f.json, "json", false, "print a line of JSON for each scan")
	return cmd
}

func (a commands) scan(ctx context.Context, f *scanning, args []string) error {
	if f.forget && (len(args) == 0 || f.watch) {
		return app.Usagef("--forget takes the sources to be forgotten, and no --watch")
	}
	c, err := a.Config(f.Overrides(map[string]string{}))
	if err != nil {
		return err
	}
	return a.WithStores(ctx, c, func(s *node.Stores) error {
		x, err := s.Indexer(ctx, c, nil, content.Traced(a.App))
		if err != nil {
			return app.Failed(err)
		}
		defer x.Close()
		sources, err := chosen(ctx, x, args)
		if err != nil {
			return err
		}
		if f.forget {
			for _, st := range sources {
				if err := x.Forget(ctx, st.Source); err != nil {
					return app.Failed(err)
				}
			}
			return nil
		}
		var w *watch.Watcher
		if f.watch { // before the scan, so that nothing falls between the two
			if w, err = a.watcher(f, sources); err != nil {
				return app.Failed(err)
			}
			defer w.Close()
		}
		var failures error
		for _, st := range sources {
			if err := a.scanOne(ctx, x, f, st); err != nil {
				failures = errors.Join(failures, err)
			}
		}
		if !f.watch || ctx.Err() != nil {
			return failures
		}
		if failures != nil {
			a.Notef("%v", failures)
		}
		return a.watch(ctx, x, f, sources, w)
	})
}

// chosen returns the sources that were named, or all.
func chosen(ctx context.Context, x *node.Indexer, args []string) ([]origin.Status, error) {
	var names []string
	for _, arg := range args {
		name, err := backends.SourceName(arg)
		if err != nil {
			return nil, app.Usage(err)
		}
		names = append(names, name)
	}
	var found []origin.Status
	for st, err := range x.Sources(ctx) {
		if err != nil {
			return nil, app.Failed(err)
		}
		if len(names) == 0 || slices.Contains(names, st.URL) {
			found = append(found, st)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(found, func(st origin.Status) bool { return st.URL == name }) {
			return nil, app.Hint(app.Absentf("%s is not indexed", config.Redact(name)), "'hashstream add --in-place %s' does that", config.Redact(name))
		}
	}
	if len(found) == 0 {
		return nil, app.Hint(app.Absentf("nothing is indexed in place"), "'hashstream add --in-place PATH' does that")
	}
	return found, nil
}

func (a commands) scanOne(ctx context.Context, x *node.Indexer, f *scanning, st origin.Status) error {
	got, err := x.Run(ctx, st.Source, &origin.ScanOptions{Wrap: st.Name, AllowEmpty: f.allowEmpty})
	if err != nil {
		return fmt.Errorf("scan %s: %w", st.URL, scanError(content.SourceHint(err, st.URL)))
	}
	return content.PrintPlaced(a.App, f.json, f.quiet, st.URL, got)
}

// scanError makes a source that is gone a failure, not an answer.
func scanError(err error) error {
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, backends.ErrNoRoot) {
		return app.Hint(app.Failed(err), "if it is gone for good: hashstream scan --forget")
	}
	return err
}

// watcher watches sources.
func (a commands) watcher(f *scanning, sources []origin.Status) (*watch.Watcher, error) {
	w, err := watch.New(&watch.Options{Interval: f.interval})
	if err != nil {
		return nil, err
	}
	for _, st := range sources {
		if err := w.Add(st.URL); err != nil {
			a.Notef("%s is scanned every %s: %v", st.URL, f.interval, err)
		}
	}
	return w, nil
}

// watch scans what changes until ctx ends.
func (a commands) watch(ctx context.Context, x *node.Indexer, f *scanning, sources []origin.Status, w *watch.Watcher) error {
	a.Notef("watching %s", app.Count(int64(len(sources)), "source"))
	for url := range w.Changes(ctx) {
		for _, st := range sources {
			if st.URL != url {
				continue
			}
			if err := a.scanOne(ctx, x, f, st); err != nil && ctx.Err() == nil {
				a.Notef("%v", err)
			}
		}
	}
	return nil
}
