package find

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashstream/hashstream/ipni"
)

// listError is what a list of contexts ended with.
type listError struct{ error }

// failures is what went wrong in an answer. Of the errors of contexts the first are kept: a hot
// key may have thousands, none of which can be completed.
type failures struct {
	list     error
	contexts []error
}

const maxErrors = 8

func (f *failures) add(err error) {
	if list, ok := err.(listError); ok {
		f.list = list.error
	} else if err != nil && len(f.contexts) < maxErrors {
		f.contexts = append(f.contexts, err)
	}
}

// verdict returns the error that an answer ends with. It matches [ipni.ErrIncomplete] if there were
// results, unless the list broke off for another reason than the end of ctx.
func (f *failures) verdict(ctx context.Context, results bool) error {
	err := errors.Join(append(f.contexts, f.list)...)
	if err == nil {
		err = context.Cause(ctx) // a lookup may have ended without a word
	}
	if err == nil || !results || f.list != nil && ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", ipni.ErrIncomplete, err)
}
