package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/backends"
)

// ErrUsage is matched by errors of the command line, not of what it asked for.
var ErrUsage = errors.New("usage")

type usageError struct{ error }

func (usageError) Is(target error) bool { return target == ErrUsage }
func (e usageError) Unwrap() error      { return e.error }

func Usage(err error) error { return usageError{err} }

func Usagef(format string, args ...any) error { return Usage(fmt.Errorf(format, args...)) }

// failure is an error that is no more than that, whatever its cause matches.
type failure struct{ error }

func (e failure) Unwrap() error { return e.error }

func Failed(err error) error {
	if err == nil {
		return nil
	}
	return failure{err}
}

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

func ExitCode(err error) int {
	var plain failure
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrUsage):
		return ExitUsage
	case errors.As(err, &plain), errors.Is(err, ingest.ErrChanged):
		return ExitFailed
	case IsAny(err, digest.ErrMismatch, fetch.ErrIncomplete, car.ErrMalformed, car.ErrTruncated, block.ErrTooLarge, index.ErrCorrupt):
		return ExitIntegrity
	case errors.Is(err, fs.ErrNotExist):
		return ExitNotFound
	}
	return ExitFailed
}

func IsAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// Report prints err and what to do about it.
func Report(w io.Writer, cmd *cobra.Command, err error) {
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
	case errors.Is(err, ErrUsage):
		return fmt.Sprintf("see '%s --help'", cmd.CommandPath())
	// A node's errors come as text.
	case IsAny(err, syscall.ENOSPC, syscall.EDQUOT), strings.Contains(err.Error(), syscall.ENOSPC.Error()):
		return "free space on the disk and run the command again; what was printed before is stored"
	case errors.Is(err, syscall.EROFS):
		return "the file system is read only; choose another --home or output"
	case errors.Is(err, fs.ErrExist):
		return "choose another output, or add --force to replace it"
	case errors.Is(err, dag.ErrNotFile):
		return "it is a directory: add -o DIR to write it, or name a file in it as CID/path"
	case errors.Is(err, block.ErrEncoding):
		return "a blob that is one large block is no CAR; --format raw writes its bytes"
	case errors.Is(err, block.ErrNotLink):
		return "the path leads through something that is neither a directory nor a link"
	case errors.Is(err, backends.ErrLocked):
		return "wait for that command to end; while a node runs ('hashstream serve'), commands need not wait"
	}
	return ""
}

// absent is the error for content that is not there.
type absent string

func Absentf(format string, args ...any) error { return absent(fmt.Sprintf(format, args...)) }

func (e absent) Error() string      { return string(e) }
func (absent) Is(target error) bool { return target == fs.ErrNotExist }
