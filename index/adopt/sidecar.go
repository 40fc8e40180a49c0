package adopt

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

// Sidecar returns an index that can lie beside the CAR at loc: see [car.AppendSidecar]. It
// holds the index in memory, and reads the frames of the CAR but verifies nothing. A CARv2 is
// [errors.ErrUnsupported], because it has room for an index inside.
func Sidecar(ctx context.Context, packs blob.Getter, loc index.Location) ([]byte, error) {
	a := &Adopter{home: Home{Packs: packs}}
	h := &headReader{ctx: ctx, a: a, loc: loc}
	_, version, _, err := h.header()
	if err == nil && version != 1 {
		err = fmt.Errorf("a CARv%d: %w", version, errors.ErrUnsupported)
	}
	if err != nil {
		return nil, fmt.Errorf("adopt: index of %s: %w", loc, err)
	}
	var entries []car.IndexEntry
	for s, err := range a.sections(ctx, loc) {
		var d digest.Digest
		if err == nil {
			d, err = digest.FromCID(s.CID)
		}
		if err != nil {
			return nil, fmt.Errorf("adopt: index of %s: %w", loc, err)
		}
		if _, inline := d.Inline(); !inline {
			entries = append(entries, car.IndexEntry{Code: d.Code(), Coded: true, Value: d.Value(), Offset: s.Offset - car.HeadSize(s.CID, s.Size)})
		}
	}
	return car.AppendSidecar(nil, entries)
}
