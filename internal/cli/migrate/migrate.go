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
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
)

// commands are the commands of this package.
type commands struct{ *app.App }

// Import is the command index import.
func Import(a *app.App) *cobra.Command {
	c := commands{a}
	return app.Group("import", "Take in the index of another program; bytes stay where they are", c.importJS(), c.importCAR(), c.importSharded())
}

// Export is the command index export.
func Export(a *app.App) *cobra.Command {
	c := commands{a}
	return app.Group("export", "Write the index for another program", c.exportJS(), c.exportCAR(), c.exportSharded())
}

// maxTold bounds the lines about what is left out.
const maxTold = 100

// run is one run of a command.
type run struct {
	*app.App
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
	c, err := r.Config(overrides)
	if err != nil {
		return err
	}
	level, err := index.ParseLevel(c.Add.Index)
	if err != nil {
		return app.Usage(err)
	}
	return r.WithStores(ctx, c, func(s *node.Stores) error { return f(c, s, level) })
}

// home is where content is taken in.
func home(s *node.Stores, level index.Level) adopt.Home {
	return adopt.Home{Keys: s.KV, Level: level, Packs: s.Packs, Files: s.Sources, Complete: s.Streamer.Complete}
}

// problem tells of something that is left out.
func (r *run) problem(err error) {
	switch r.told++; {
	case r.told < maxTold:
		r.Notef("left out: %v", err)
	case r.told == maxTold:
		r.Notef("more is left out; it is counted at the end")
	}
}

// root tells of a DAG.
func (r *run) root(c fmt.Stringer, reason error) error {
	if reason != nil {
		r.Notef("%v; its blocks are found one by one", reason)
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
	return fmt.Sprintf("%s, %s, %s; %s", app.Count(s.Packs, "pack"), app.Count(s.Blocks, "block"), app.Count(s.Roots, "DAG"), app.Count(s.Problems, "problem"))
}

// done prints the result of an import.
func (r *run) done(s summary) error {
	if r.json {
		return r.PrintJSON(s)
	}
	r.Notef("%s", s)
	return nil
}
