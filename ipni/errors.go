package ipni

import "errors"

// ErrIncomplete follows results that are true but may not be all: somebody who may have more
// could not be asked. An answer that ends with it can be served, but neither kept nor taken as proof of
// absence.
var ErrIncomplete = errors.New("ipni: there may be more results")
