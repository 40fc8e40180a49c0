package content

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/internal/progress"
	"github.com/hashstream/hashstream/origin"
	"github.com/hashstream/hashstream/pipeline"
)

// Placing is the flags of commands that index content where it is.
type Placing struct {
	concurrency int
	queue       string
}

// Flags gives cmd the flags.
func (f *Placing) Flags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.concurrency, "concurrency", 0, "tasks done at the same time (default: pipeline.concurrency of the configuration)")
	cmd.Flags().StringVar(&f.queue, "queue", "", "queue of tasks, such as nats://HOST/STREAM (default: pipeline.queue of the configuration)")
}

// Overrides adds to set what the flags say of the configuration.
func (f *Placing) Overrides(set map[string]string) map[string]string {
	if f.concurrency > 0 {
		set["pipeline.concurrency"] = strconv.Itoa(f.concurrency)
	}
	if f.queue != "" {
		set["pipeline.queue"] = f.queue
	}
	return set
}

// addInPlace indexes arguments where they are.
func (a commands) addInPlace(ctx context.Context, f *adding, args []string) error {
	switch {
	case f.dedup, f.dryRun, f.follow:
		return app.Usagef("--in-place goes without --dedup, --dry-run and --dereference-args")
	case f.wrap && len(args) > 1:
		return app.Usagef("--in-place wraps one argument at a time")
	}
	c, err := a.Config(f.placing.Overrides(f.overrides()))
	if err != nil {
		return err
	}
	o, err := f.options(c)
	if err == nil && f.whole() {
		err = f.checkWhole()
	}
	if err != nil {
		return err
	}
	if !f.whole() && !o.Profile.RawLeaves {
		return app.Hint(app.Usagef("profile %s puts file content into larger blocks, which stand nowhere in a file", c.Add.Profile), "--in-place takes --profile unixfs-v1-2025")
	}
	level, err := index.ParseLevel(c.Add.Index)
	if err != nil {
		return app.Usage(err)
	}
	if level == index.LevelNone {
		return app.Usagef("--in-place writes nothing but an index; it takes no --index-writer none")
	}
	return a.WithStores(ctx, c, func(s *node.Stores) error {
		for _, arg := range args {
			name, err := backends.SourceName(arg)
			if err != nil {
				return app.Usage(err)
			}
			if filepath.IsAbs(name) {
				if _, err := os.Lstat(name); err != nil {
					return app.Missing(arg, err)
				}
			}
			src := origin.Source{URL: name, Profile: o.Profile, Hidden: o.Hidden, Level: level, Blob: f.whole()}
			wrap := ""
			if f.wrap {
				wrap = path.Base(name)
			}
			got, err := a.placeOne(ctx, c, s, src, wrap, f.quiet)
			if err != nil {
				return fmt.Errorf("add %s: %w", config.Redact(arg), SourceHint(err, name))
			}
			if err := a.printPlaced(f, arg, got); err != nil {
				return err
			}
		}
		return nil
	})
}

// SourceHint tells what to do about a source that is refused.
func SourceHint(err error, name string) error {
	switch {
	case errors.Is(err, origin.ErrDirectory):
		return app.Hint(app.Usage(err), "%s", chunked)
	case errors.Is(err, origin.ErrEmptied):
		return app.Hint(err, "mount what is missing; if it is empty for good: hashstream scan --allow-empty %s", name)
	case !errors.Is(err, backends.ErrNoRoot):
		return err
	}
	return app.Hint(err, "permit it in the configuration: [sources] roots = [%q], or HASHSTREAM_SOURCES_ROOTS=%s", name, name)
}

// placeOne scans one source and shows how far that is.
func (a commands) placeOne(ctx context.Context, c config.Config, s *node.Stores, src origin.Source, wrap string, quiet bool) (origin.Scanned, error) {
	p := a.Progress("hashed", quiet)
	defer p.Stop()
	x, err := s.Indexer(ctx, c, &origin.Options{Read: func(_ string, n int64) { p.Add(n) }}, Traced(a.App))
	if err != nil {
		return origin.Scanned{}, app.Failed(err)
	}
	defer x.Close()
	return x.Run(ctx, src, &origin.ScanOptions{Wrap: wrap})
}

// Traced tells what a pipeline has to retry.
func Traced(a *app.App) pipeline.Trace {
	var mu sync.Mutex
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		a.Notef(format, args...)
	}
	return pipeline.Trace{
		Failed: func(t pipeline.Task, attempt int, dead bool, err error) {
			if dead || a.Verbose {
				tell("attempt %d: %v", attempt, err)
			}
		},
		Trouble: func(err error) { tell("%v; trying again", err) },
	}
}

// placed is what add --in-place and scan print with --json.
type placed struct {
	added
	origin.Report
}

// PrintPlaced prints what came of a scan.
func PrintPlaced(a *app.App, asJSON, quiet bool, arg string, got origin.Scanned) error {
	return commands{a}.printPlaced(&adding{json: asJSON, quiet: quiet}, arg, got)
}

func (a commands) printPlaced(f *adding, arg string, got origin.Scanned) error {
	res := got.Result
	res.Size = got.Bytes
	switch {
	case f.json:
		return a.PrintJSON(placed{describeAdded(arg, res), got.Report})
	case f.quiet:
		_, err := fmt.Fprintln(a.Out, res.Root)
		return err
	}
	_, err := fmt.Fprintln(a.Out, res.Root, arg)
	a.Notef("%s in %s stay where they are: %s", progress.Size(got.Bytes), app.Count(got.Files, "file"), summary(got))
	return err
}

// summary says what a scan found.
func summary(got origin.Scanned) string {
	if !got.Different() && !got.Result.Stored {
		return "nothing changed"
	}
	var parts []string
	for _, c := range []struct {
		n    int64
		what string
	}{{got.New, "new"}, {got.Changed, "changed"}, {got.Removed, "removed"}, {got.Unchanged, "unchanged"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(parts) == 0 {
		return "no files"
	}
	return strings.Join(parts, ", ")
}

func describeAdded(arg string, res ingest.Result) added {
	return added{res.Root.String(), arg, res.Size, res.DAGSize, res.Blocks, res.Duplicates, res.Packs, res.PackBytes, res.Stored}
}
