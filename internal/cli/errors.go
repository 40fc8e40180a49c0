package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/internal/config"
)

// errUsage is matched by errors of the command line, not of what it asked for.
var errUsage = errors.New("usage")

type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error      { return e.error }

func usage(err error) error { return usageError{err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

func hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage), errors.Is(err, config.ErrInvalid):
		return exitUsage
	case errors.Is(err, digest.ErrMismatch), errors.Is(err, fetch.ErrIncomplete), errors.Is(err, car.ErrMalformed), errors.Is(err, car.ErrTruncated):
		return exitIntegrity
	case errors.Is(err, fs.ErrNotExist):
		return exitNotFound
	}
	return exitFailed
}

// report prints err and what to do about it.
func report(w io.Writer, cmd *cobra.Command, err error) {
	fmt.Fprintf(w, "hashstream: %s\n", strings.TrimPrefix(err.Error(), "hashstream: "))
	if advice := advise(cmd, err); advice != "" {
		fmt.Fprintf(w, "  %s\n", advice)
	}
}

func advise(cmd *cobra.Command, err error) string {
	var h *hinted
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.Is(err, errUsage):
		return fmt.Sprintf("see '%s --help'", cmd.CommandPath())
	case errors.Is(err, syscall.ENOSPC):
		return "free space on the disk and run the command again; what was acknowledged is kept"
	case errors.Is(err, fs.ErrExist):
		return "choose another output, or add --force to replace it"
	case errors.Is(err, dag.ErrNotFile):
		return "it is a directory: add -o DIR to write it, or name a file in it as CID/path"
	case errors.Is(err, block.ErrNotLink):
		return "the path leads through something that is neither a directory nor a link"
	}
	return ""
}

func notFound(d digest.Digest) error {
	return fmt.Errorf("%s is not in the index: %w", d, fs.ErrNotExist)
}
