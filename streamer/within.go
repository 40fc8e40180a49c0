package streamer

import (
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

// Within returns a source that looks for blocks in the plan of containing too: an
// index of multiple-level records knows no other way to the blocks of a DAG.
func (s *Streamer) Within(containing digest.Digest) block.Source { return s.within(containing) }
