// Package migrate holds the commands that take in the indexes of other programs, and write
// them: 'hashstream index import' and 'hashstream index export'. docs/guides/migrate.md tells
// when to use which.
//
// # Errors
//
// What cannot be taken in is told on standard error and is no error: what can be is served.
// Everything else is as package cli says.
package migrate

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
)

// App is what the commands need of the program they are part of.
type App struct {
	Out    io.Writer                            // for results
	Note   func(format string, args ...any)     // tells something that is not a result
	JSON   func(v any) error                    // prints a result as a line of JSON
	Usage  func(error) error                    // marks an error as one of the command line
	Hint   func(err error, advice string) error // adds advice to an error
	Stores func(ctx context.Context, overrides map[string]string, f func(config.Config, *node.Stores) error) error
}

// maxTold bounds the lines about what is left out.
const maxTold = 100

// run is one run of a command.
type run struct {
	*App
	level string
	json  bool
	told  int
}

func (r *run) flags(cmd *cobra.Command, about string) {
	cmd.Flags().StringVar(&r.level, "index-writer", "", about)
	cmd.Flags().BoolVar(&r.json, "json", false, "print a line of JSON")
}

const writes = "records to write: all, single-level, multiple-level or none (default: add.index of the configuration)"

// with calls f with the stores, and the level of records to write.
func (r *run) with(ctx context.Context, f func(config.Config, *node.Stores, index.Level) error) error {
	overrides := map[string]string{}
	if r.level != "" {
		overrides["add.index"] = r.level
	}
	return r.Stores(ctx, overrides, func(c config.Config, s *node.Stores) error {
		level, err := index.ParseLevel(c.Add.Index)
		if err != nil {
			return r.Usage(err)
		}
		return f(c, s, level)
	})
}

// home is where content is taken in.
func home(s *node.Stores, level index.Level) adopt.Home {
	return adopt.Home{Keys: s.KV, Level: level, Packs: s.Packs, Files: s.Sources, Complete: s.Streamer.Complete}
}

// problem tells of something that is left out.
func (r *run) problem(err error) {
	switch r.told++; {
	case r.told < maxTold:
		r.Note("left out: %v", err)
	case r.told == maxTold:
		r.Note("more is left out; it is counted at the end")
	}
}

// root tells of a DAG.
func (r *run) root(c fmt.Stringer, reason error) error {
	if reason != nil {
		r.Note("%v; its blocks are found one by one", reason)
		return nil
	}
	if r.json {
		return nil
	}
	_, err := fmt.Fprintln(r.Out, "root", c)
	return err
}

// storeURL makes a URL of what a command was told: a URL, or a directory.
func storeURL(arg string) (string, error) {
	if strings.Contains(arg, "://") || strings.HasPrefix(arg, "file:") || strings.HasPrefix(arg, "mem:") {
		return arg, nil
	}
	abs, err := filepath.Abs(arg)
	return (&url.URL{Scheme: "file", Path: abs}).String(), err
}

// exists returns an error if arg is a directory that is not there: to open one makes it.
func exists(arg string) error {
	if strings.Contains(arg, "://") || strings.HasPrefix(arg, "mem:") {
		return nil
	}
	fi, err := os.Stat(strings.TrimPrefix(arg, "file:"))
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%s is no directory: %w", arg, fs.ErrInvalid)
	}
	return err
}

// output writes data to the file name, or where it is "-" to standard output.
func (r *run) output(name string, data []byte) error {
	if name == "-" {
		_, err := r.Out.Write(data)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}

// Import returns the command 'index import'.
func Import(a *App) *cobra.Command {
	return group("import", "Take in the index of another program; bytes stay where they are", a.importJS(), a.importCAR(), a.importSharded())
}

// Export returns the command 'index export'.
func Export(a *App) *cobra.Command {
	return group("export", "Write the index for another program", a.exportJS(), a.exportCAR(), a.exportSharded())
}

func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// count is a number of things: "1 pack", "2 packs".
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// summary is what an import prints with --json.
type summary struct {
	Records  int64 `json:"records"`
	Packs    int64 `json:"packs"`
	Blocks   int64 `json:"blocks"`
	Roots    int64 `json:"roots"`
	Problems int64 `json:"problems"`
}

// String tells people what an import did.
func (s summary) String() string {
	return fmt.Sprintf("%s, %s, %s; %s", count(s.Packs, "pack"), count(s.Blocks, "block"), count(s.Roots, "DAG"), count(s.Problems, "problem"))
}

// done prints the result of an import.
func (r *run) done(s summary) error {
	if r.json {
		return r.JSON(s)
	}
	r.Note("%s", s)
	return nil
}
