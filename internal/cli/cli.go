// Package cli is the hashstream command: it reads arguments, calls the packages
// that do the work, and tells what happened. Results go to standard output,
// everything else to standard error.
//
// # Errors
//
// Every error ends up as one line that begins with "hashstream:", where possible
// with a line that says what to do, and as the exit code of [Run].
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

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
// failed, 2 wrong usage, 3 content not found, 4 content that fails verification.
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
		err = &hinted{fmt.Errorf("interrupted: %w", err), "everything that was acknowledged is stored; run the same command again to go on"}
	}
	report(s.Err, cmd, err)
	return exitCode(err)
}

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
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.home, "home", "", "directory of configuration and embedded stores (default: hashstream in the XDG data directory)")
	flags.StringVar(&a.file, "config", "", "configuration file (default: hashstream.toml in the home)")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "tell more on standard error")
	root.AddCommand(a.initCommand(), a.serveCommand(), a.addCommand(), a.getCommand(), a.dumpCommand(),
		a.packCommand(), a.indexCommand(), a.statusCommand(), a.scrubCommand(), a.configCommand(), a.versionCommand())
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
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// config loads the configuration with the overrides of the command line.
func (a *app) config(overrides map[string]string) (config.Config, error) {
	return config.Load(a.home, a.file, a.Environ, overrides)
}

// notef tells something that is not a result.
func (a *app) notef(format string, args ...any) {
	fmt.Fprintln(a.Err, strings.TrimSuffix(fmt.Sprintf(format, args...), "\n"))
}
