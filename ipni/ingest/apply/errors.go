package apply

import (
	"errors"

	"github.com/hashstream/hashstream/digest"
)

// ErrYield says that it is another's turn in the midst of an advertisement.
var ErrYield = errors.New("apply: it is another's turn")

// Serious marks an error of the sink or the store, for which no publisher is to blame.
type Serious struct{ error }

// Unwrap returns the error.
func (s Serious) Unwrap() error { return s.error }

// Damage marks the error of a corrupt row, which matches [digest.ErrMismatch]: nobody else has to
// wait for what can be done about it.
type Damage struct{ error }

// Unwrap returns the error.
func (d Damage) Unwrap() error { return d.error }

// Grave makes a serious error or a damage of err, if it is one.
func Grave(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, digest.ErrMismatch):
		return Damage{err}
	}
	return Serious{err}
}

// IsDamage reports whether err is that of a corrupt row.
func IsDamage(err error) bool {
	var d Damage
	return errors.As(err, &d)
}

// IsSerious reports whether no publisher is to blame for err.
func IsSerious(err error) bool {
	var s Serious
	return errors.As(err, &s)
}
