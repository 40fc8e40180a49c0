package node

import "runtime/debug"

// gcPercent lets the heap grow to four times what lives before it is collected.
// Little lives in a node, a few tens of MiB, but every request allocates: with
// Go's default of 100 a tenth of the time under load goes into collecting.
const gcPercent = 300

// relaxGC applies gcPercent, unless the environment (GOGC) has another wish.
func relaxGC() {
	if old := debug.SetGCPercent(gcPercent); old != 100 {
		debug.SetGCPercent(old)
	}
}
