package segment

import (
	"fmt"

	"github.com/FastFilter/xorfilter"
)

// filter tells which heads are certainly not in a section; of others it lets one in
// 256 through.
type filter struct{ fuse *xorfilter.BinaryFuse[uint8] }

// newFilter builds a filter of heads, none of which is twice among them.
func newFilter(heads []uint64) (filter, error) {
	fuse, err := xorfilter.NewBinaryFuse[uint8](heads)
	if err != nil {
		return filter{}, fmt.Errorf("segment: build filter of %d keys: %w", len(heads), err)
	}
	return filter{fuse}, nil
}

func (f filter) has(head uint64) bool { return f.fuse.Contains(head) }

// size returns the number of fingerprints of a filter with these parameters, or
// false if there is no such filter.
func fuseSize(segmentLength, segments uint32) (int, bool) {
	const most = 1 << 30
	if segmentLength == 0 || segmentLength&(segmentLength-1) != 0 || segments == 0 || segmentLength > most || segments > most {
		return 0, false
	}
	n := (uint64(segments) + 2) * uint64(segmentLength)
	return int(n), n <= most
}

// parseFilter makes a filter of stored parameters and fingerprints, which it keeps.
func parseFilter(seed uint64, segmentLength, segments uint32, fingerprints []byte) filter {
	return filter{&xorfilter.BinaryFuse[uint8]{
		Seed:               seed,
		SegmentLength:      segmentLength,
		SegmentLengthMask:  segmentLength - 1,
		SegmentCount:       segments,
		SegmentCountLength: segmentLength * segments,
		Fingerprints:       fingerprints,
	}}
}
