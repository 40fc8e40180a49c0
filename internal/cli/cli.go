// Package cli is the hashstream command: it reads arguments, calls the packages
// that do the work, and tells what happened. Results go to standard output,
// everything else to standard error.
//
// # Errors
//
// Every error ends up as one line that begins with "hashstream:", where possible
// with a line that says what to do, and as the exit code of [Run]. Absence is an
// exit code of its own only where it is the answer: a CID that is not stored, or a
// file that was to be read. A directory that cannot be opened for output, a home
// that cannot be made and a node that does not run are plain failures.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/config"
)

// Exit codes.
const (
	exitOK        = 0
	exitFailed    = 1
	exitUsage     = 2
	exitNotFound  = 3
	exitIntegrity = 4
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

// app is one run of the command.
type app struct {
	Streams
	home    string
	file    string // configuration file
	verbose bool
}

// Run carries out the command line args and returns the exit code: 0 done, 1
// failed, 2 wrong usage or configuration, 3 content or input not found, 4 content
// that is corrupt, malformed or incomplete. When ctx ends Run returns soon, also
// from a read of s.In, which may then still be under way.
func Run(ctx context.Context, args []string, s Streams) int {
	a := &app{Streams: s}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && !errors.Is(err, errUsage) {
		err = hint(failed(errors.New("interrupted")), "%s", cmd.Annotations[onInterrupt])
	}
	report(s.Err, cmd, err)
	return exitCode(err)
}

// onInterrupt annotates a command with what to tell when it was interrupted.
const onInterrupt = "interrupt"

func interruptible(advice string) map[string]string { return map[string]string{onInterrupt: advice} }

const (
	resumeAdding  = "what was printed is stored; run the same command again for the rest, it stores nothing twice"
	resumeWriting = "nothing was left that looks whole; run the same command again"
	resumeReading = "nothing was lost; run the same command again"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "hashstream",
		Short: "Store, serve and fetch content by its hash",
		Long: `Hashstream makes files and directories addressable by their hash and serves
them over HTTP in a form that every receiver can verify.`,
		Example: `  hashstream init                      write a documented configuration
  hashstream add photos/               store a directory and print its CID
  hashstream serve                     serve it at http://127.0.0.1:8080
  hashstream get CID -o photos         fetch and verify it, here or anywhere`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.home, "home", "", "directory of configuration and embedded stores (default: hashstream in the XDG data directory)")
	flags.StringVar(&a.file, "config", "", "configuration file (default: hashstream.toml in the home)")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "tell more on standard error")
	root.AddCommand(a.initCommand(), a.serveCommand(), a.addCommand(), a.scanCommand(), a.getCommand(), a.dumpCommand(),
		a.packCommand(), a.indexCommand(), a.pipelineCommand(), a.statusCommand(), a.scrubCommand(), a.configCommand(), a.versionCommand())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	checkArgs(root)
	return root
}

// checkArgs makes complaints about arguments usage errors, for every command.
func checkArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage(err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		checkArgs(sub)
	}
}

// group returns a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// noSuchCommand takes no argument, and names the command that one may have meant.
func noSuchCommand(cmd *cobra.Command, args []string) error {
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

// config loads the configuration with the overrides of the command line.
func (a *app) config(overrides map[string]string) (config.Config, error) {
	c, err := config.Load(a.home, a.file, a.Environ, overrides)
	if err == nil {
		err = backends.Check(c)
	}
	if err != nil {
		return c, hint(usage(err), "the file that 'hashstream init' writes describes every key")
	}
	return c, nil
}

// notef tells something that is not a result.
func (a *app) notef(format string, args ...any) {
	fmt.Fprintln(a.Err, strings.TrimSuffix(fmt.Sprintf(format, args...), "\n"))
}
