package pipeline

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/queue"
)

// version is the first byte of every record and message.
const version = 1

// message is a task as the queue holds it.
type message struct {
	run   uint64 // of the job
	round uint64 // how often the task was retried after it was dead
	task  Task
}

// jobRecord is the value of a job's key.
type jobRecord struct {
	run              uint64
	state            State // as stored: listing, running or failed
	started, updated time.Time
	tasks            uint64
	about, cause     string
}

// doneRecord is the value of a task that is done.
type doneRecord struct {
	at     time.Time
	counts map[string]int64
}

// failRecord is the value of a task that failed.
type failRecord struct {
	round    uint64
	attempts uint64 // that failed in this round
	failures uint64 // in all rounds
	at       time.Time
	delay    time.Duration // from then on, before it runs again
	cause    string
	dead     bool
	body     []byte // if dead
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
}

func appendString[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (m message) encode() []byte {
	b := make([]byte, 0, len(m.task.Job)+len(m.task.Body)+40)
	b = append(b, version)
	b = binary.BigEndian.AppendUint64(b, m.run)
	b = binary.BigEndian.AppendUint64(b, m.task.ID)
	b = binary.AppendUvarint(b, m.round)
	b = appendString(b, m.task.Job)
	return append(b, m.task.Body...)
}

func decodeMessage(b []byte) (message, error) {
	if len(b) > queue.MaxBody {
		return message{}, fmt.Errorf("pipeline: message of %d bytes: %w", len(b), digest.ErrMismatch)
	}
	d := newDecoder(b)
	m := message{run: d.fixed(), task: Task{ID: d.fixed()}, round: d.uint()}
	m.task.Job = string(d.bytes(MaxJobID))
	m.task.Body = d.rest()
	if d.err == nil {
		if err := checkID(m.task.Job); err != nil {
			d.fail(err.Error())
		}
	}
	return m, d.end("message")
}

func (r jobRecord) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{version}, r.run)
	b = append(b, byte(r.state))
	b = appendTime(appendTime(b, r.started), r.updated)
	b = binary.AppendUvarint(b, r.tasks)
	return appendString(appendString(b, r.about), r.cause)
}

func decodeJob(b []byte) (jobRecord, error) {
	d := newDecoder(b)
	r := jobRecord{run: d.fixed(), state: State(d.byte())}
	r.started, r.updated = d.time(), d.time()
	r.tasks = d.uint()
	r.about, r.cause = string(d.bytes(maxText)), string(d.bytes(maxText))
	if d.err == nil && r.state != StateListing && r.state != StateRunning && r.state != StateFailed {
		d.fail("unknown state")
	}
	return r, d.end("job")
}

func (r doneRecord) encode() []byte {
	b := appendTime([]byte{version}, r.at)
	for _, name := range slices.Sorted(maps.Keys(r.counts)) {
		b = binary.AppendVarint(appendString(b, name), r.counts[name])
	}
	return b
}

func decodeDone(b []byte) (doneRecord, error) {
	d := newDecoder(b)
	r := doneRecord{at: d.time(), counts: map[string]int64{}}
	last := ""
	for d.err == nil && len(d.b) > 0 {
		name := string(d.bytes(maxCountName))
		if name <= last || len(r.counts) == maxCounts {
			d.fail("bad counter")
		}
		last, r.counts[name] = name, d.int()
	}
	return r, d.end("done task")
}

func (r failRecord) encode() []byte {
	b := []byte{version, 0}
	if r.dead {
		b[1] = 1
	}
	for _, v := range []uint64{r.round, r.attempts, r.failures, uint64(r.delay)} {
		b = binary.AppendUvarint(b, v)
	}
	return append(appendString(appendTime(b, r.at), r.cause), r.body...)
}

func decodeFail(b []byte) (failRecord, error) {
	d := newDecoder(b)
	flag := d.byte()
	r := failRecord{dead: flag == 1, round: d.uint(), attempts: d.uint(), failures: d.uint(), delay: time.Duration(d.uint())}
	r.at = d.time()
	r.cause, r.body = string(d.bytes(maxText)), d.rest()
	if d.err == nil && (flag > 1 || len(r.body) > MaxBody || !r.dead && r.body != nil) {
		d.fail("bad flag or body")
	}
	return r, d.end("failed task")
}

// decoder takes values off the front of b. The first failure sticks; after it
// everything reads as zero.
type decoder struct {
	b   []byte
	err error
}

func newDecoder(b []byte) *decoder {
	d := &decoder{b: b}
	if v := d.byte(); d.err == nil && v != version {
		d.fail(fmt.Sprintf("version %d", v))
	}
	return d
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: %w", why, digest.ErrMismatch)
	}
	d.b = nil
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail("ends early")
		return make([]byte, min(n, 8)) // enough for fixed
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte { return d.take(1)[0] }

func (d *decoder) fixed() uint64 { return binary.BigEndian.Uint64(d.take(8)) }

func (d *decoder) time() time.Time { return time.Unix(0, int64(d.fixed())) }

// uint reads a uvarint in its shortest form, which fits an int64.
func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > math.MaxInt64 || n > 1 && d.b[n-1] == 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes reads a string of at most limit bytes.
func (d *decoder) bytes(limit uint64) []byte {
	n := d.uint()
	if n > limit {
		d.fail("text too long")
		return nil
	}
	return d.take(int(n))
}

// rest reads what is left, nil if nothing is.
func (d *decoder) rest() []byte {
	if len(d.b) == 0 {
		return nil
	}
	return d.take(len(d.b))
}

func (d *decoder) end(what string) error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("bytes left over")
	}
	if d.err != nil {
		return fmt.Errorf("pipeline: decode %s: %w", what, d.err)
	}
	return nil
}
