// Package app is what the commands of hashstream have in common: their streams,
// configuration and stores, the ways to tell of progress, results and errors, and the exit
// codes.
package app

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/progress"
)

// Exit codes.
const (
	ExitOK        = 0
	ExitFailed    = 1
	ExitUsage     = 2
	ExitNotFound  = 3
	ExitIntegrity = 4
)

// Streams is what a command reads, writes and is told by the system.
type Streams struct {
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Environ []string // in the form of [os.Environ]
}

// System returns the streams of the process.
func System() Streams {
	return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}
}

// App is one run of the command.
type App struct {
	Streams
	Home    string // directory, or empty for the default
	File    string // configuration file
	Verbose bool
}

// OnInterrupt annotates a command with what to tell when it was interrupted.
const OnInterrupt = "interrupt"

// Interruptible annotates a command with advice for who interrupts it.
func Interruptible(advice string) map[string]string { return map[string]string{OnInterrupt: advice} }

// Advice for who interrupts a command.
const (
	ResumeAdding  = "what was printed is stored; run the same command again for the rest, it stores nothing twice"
	ResumeWriting = "nothing was left that looks whole; run the same command again"
	ResumeReading = "nothing was lost; run the same command again"
	ResumePlacing = "files that were hashed are remembered; run the same command again for the rest"
)

// Group returns a command that only holds others.
func Group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  NoSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// NoSuchCommand takes no argument, and names the command that one may have meant.
func NoSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w, did you mean %s?", err, strings.Join(near, " or "))
	}
	return err
}

// Config loads the configuration with the overrides of the command line.
func (a *App) Config(overrides map[string]string) (config.Config, error) {
	c, err := config.Load(a.Home, a.File, a.Environ, overrides)
	if err == nil {
		err = backends.Check(c)
	}
	if err != nil {
		return c, Hint(Usage(err), "the file that 'hashstream init' writes describes every key")
	}
	return c, nil
}

// Notef tells something that is not a result.
func (a *App) Notef(format string, args ...any) {
	fmt.Fprintln(a.Err, strings.TrimSuffix(fmt.Sprintf(format, args...), "\n"))
}

// PrintJSON prints v as one line of JSON.
func (a *App) PrintJSON(v any) error { return json.NewEncoder(a.Out).Encode(v) }

// Progress starts showing what is done. quiet shows nothing.
func (a *App) Progress(what string, quiet bool) *progress.Bar {
	if quiet {
		return progress.Start(what, io.Discard)
	}
	return progress.Start(what, a.Err)
}

// Count writes a number of things for people.
func Count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// ParseDigests reads CIDs, and the names of packs in their store.
func ParseDigests(args []string) ([]digest.Digest, error) {
	var ds []digest.Digest
	for _, arg := range args {
		d, err := digest.Parse(strings.TrimSuffix(arg, ".car"))
		if err != nil {
			return nil, Usage(err)
		}
		ds = append(ds, d)
	}
	return ds, nil
}
