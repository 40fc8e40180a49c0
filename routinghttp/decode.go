package routinghttp

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multicodec"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/routinghttp/filter"
)

// The schemas of records that are understood. The last two are legacy ones.
const (
	schemaPeer      = "peer"
	schemaBitswap   = "bitswap"
	schemaGraphsync = "graphsync-filecoinv1"
)

// Limits of a record.
const (
	maxProtocols = 1024
	maxID        = 256 // bytes of a peer id as text; base58 takes quadratic time
)

// malformed is an answer that is not as the protocol says.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{digest.ErrMismatch}, args...)...)
}

// bounded is an answer of a bounded size.
type bounded struct {
	r    io.Reader
	left int64
}

// Read implements [io.Reader]. One byte more than allowed is an error.
func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, malformed("the answer is too large")
	}
	return n, err
}

// rawRecords yields the records of an answer as JSON, valid until the next one.
func rawRecords(body io.Reader, media string, maxLine int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var err error
		switch media {
		case typeLines:
			err = lines(body, maxLine, yield)
		case typeJSON:
			err = document(body, yield)
		default:
			err = malformed("an answer of type %.64q", media)
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// lines yields nothing of a line that the end of the connection cuts.
func lines(body io.Reader, maxLine int, yield func([]byte, error) bool) error {
	r := bufio.NewReaderSize(body, firstLine)
	for line := []byte(nil); ; {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return malformed("a line of more than %d bytes", maxLine)
		}
		line = append(line, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && err != io.EOF {
			return err
		}
		if text := bytes.TrimSpace(line); len(text) > 0 && !yield(text, nil) || err == io.EOF {
			return nil
		}
		line = line[:0]
	}
}

func document(body io.Reader, yield func([]byte, error) bool) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var doc struct{ Providers json.RawMessage }
	if err := json.Unmarshal(data, &doc); err != nil {
		return malformed("%w", err)
	}
	if doc.Providers == nil { // what says nothing of providers does not say that there are none
		return malformed("an answer without providers")
	}
	var all []json.RawMessage // null is none, for some servers
	if err := json.Unmarshal(doc.Providers, &all); err != nil {
		return malformed("%w", err)
	}
	for _, raw := range all {
		if !yield(raw, nil) {
			return nil
		}
	}
	return nil
}

// fields is a record as it travels.
type fields map[string]json.RawMessage

// read reads a field, if it is there.
func (f fields) read(name string, v any) error {
	raw, ok := f[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return malformed("%s of a record: %w", name, err)
	}
	return nil
}

// decode reads a record and applies a filter. There are no results if the filter leaves it out,
// or its schema is not known, and several if its metadata are more than those of one result can be.
func decode(raw []byte, choose *filter.Chooser) ([]ipni.Result, error) {
	var f fields
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, malformed("record: %w", err)
	}
	protocols, ok, err := f.protocols()
	if err != nil || !ok {
		return nil, err
	}
	var text string
	var texts []string
	if err := errors.Join(f.read("ID", &text), f.read("Addrs", &texts)); err != nil {
		return nil, err
	}
	if len(text) > maxID {
		return nil, malformed("a peer id of %d bytes", len(text))
	}
	id, err := peer.Decode(text)
	if err != nil {
		return nil, malformed("peer id of a record: %w", err)
	}
	addrs, ok := choose.Choose(decodeAddrs(texts), protocols)
	if !ok {
		return nil, nil
	}
	all, err := f.metadata(protocols)
	if err != nil {
		return nil, err
	}
	results := make([]ipni.Result, len(all))
	for i, m := range all {
		results[i] = ipni.Result{Provider: peer.AddrInfo{ID: id, Addrs: addrs}, Metadata: m}
	}
	return results, nil
}

// protocols returns the names of the protocols of a record whose schema is known.
func (f fields) protocols() (names []string, known bool, err error) {
	schema, legacy := "", ""
	if err := f.read("Schema", &schema); err != nil {
		return nil, false, err
	}
	switch schema {
	case schemaPeer:
		err = f.read("Protocols", &names)
	case schemaBitswap, schemaGraphsync:
		err = f.read("Protocol", &legacy)
		names = []string{legacy}
	case "":
		err = malformed("a record without a schema")
	default:
		return nil, false, nil
	}
	if err == nil && len(names) > maxProtocols {
		err = malformed("a record of %d protocols, at most %d are allowed", len(names), maxProtocols)
	}
	return names, err == nil, err
}

// decodeAddrs leaves out addresses that cannot be read: they are of protocols to come.
func decodeAddrs(texts []string) (addrs []multiaddr.Multiaddr) {
	for _, text := range texts {
		if len(text) > ad.MaxAddr {
			continue
		}
		if a, err := multiaddr.NewMultiaddr(text); err == nil && len(a) > 0 {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// metadata puts together what a record says of its protocols, in the order of their codes. What a
// protocol's field says is taken if it is that protocol's metadata; without it, those
// of protocols are known that have no parameters. Others are left out, as the specification
// wants of who does not understand them. There is at least one value, which may be empty.
func (f fields) metadata(names []string) ([][]byte, error) {
	var all []ad.Protocol
	for _, name := range names {
		p, ok := protocol(strings.ToLower(name), f[name])
		if ok && !slices.ContainsFunc(all, func(q ad.Protocol) bool { return q.Code == p.Code }) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b ad.Protocol) int { return cmp.Compare(a.Code, b.Code) })
	out := [][]byte{nil}
	for _, p := range all {
		m, err := ad.Metadata(p)
		if err != nil {
			return nil, malformed("metadata of %s: %w", p.Code, err)
		}
		if last := out[len(out)-1]; len(last)+len(m) <= ad.MaxMetadata {
			out[len(out)-1] = append(last, m...)
		} else {
			out = append(out, m)
		}
	}
	return out, nil
}

// protocol reads what a record says of one protocol.
func protocol(name string, field json.RawMessage) (ad.Protocol, bool) {
	var code multicodec.Code
	if name == "" || code.Set(name) != nil {
		return ad.Protocol{}, false
	}
	var value []byte
	if json.Unmarshal(field, &value) == nil {
		var found []ad.Protocol
		for p, err := range ad.Protocols(value) {
			if err != nil || p.Code != ad.Code(code) {
				found = nil
				break
			}
			found = append(found, p)
		}
		if len(found) == 1 {
			return found[0], true
		}
	}
	switch p := (ad.Protocol{Code: ad.Code(code)}); p.Code {
	case ad.Bitswap, ad.GatewayHTTP, ad.PieceHTTP:
		return p, true
	}
	return ad.Protocol{}, false
}
