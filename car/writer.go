package car

import (
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
)

// Writer writes a CARv1.
type Writer struct {
	w    io.Writer
	head []byte
	err  error
}

// NewWriter writes the header for roots, of which there may be none.
func NewWriter(w io.Writer, roots ...cid.Cid) (*Writer, error) {
	for _, root := range roots {
		if !root.Defined() {
			return nil, fmt.Errorf("car: write header: %w: undefined root", ErrMalformed)
		}
	}
	if _, err := w.Write(AppendHeader(nil, roots...)); err != nil {
		return nil, fmt.Errorf("car: write header: %w", err)
	}
	return &Writer{w: w}, nil
}

// Write appends the section of b, which it trusts to be verified. After an error
// the archive is broken and every further Write returns that error.
func (w *Writer) Write(b block.Block) error {
	if w.err != nil {
		return w.err
	}
	if !b.CID.Defined() {
		return fmt.Errorf("car: write section: %w: undefined CID", ErrMalformed)
	}
	w.head = AppendHead(w.head[:0], b.CID, int64(len(b.Data)))
	_, err := w.w.Write(w.head)
	if err == nil && len(b.Data) > 0 {
		_, err = w.w.Write(b.Data)
	}
	if err != nil {
		w.err = fmt.Errorf("car: write %s: %w", b.CID, err)
	}
	return w.err
}
