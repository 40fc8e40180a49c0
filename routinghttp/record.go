package routinghttp

import (
	"bytes"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/jsonappend"
	"github.com/hashstream/hashstream/routinghttp/filter"
)

// record is what is known of one peer.
type record struct {
	id        peer.ID
	addrs     []multiaddr.Multiaddr
	known     map[string]bool // of addrs, if there was more than one list of them
	last      ipni.Result     // whose addresses and metadata are known
	protocols []string
	metadata  [][]byte // of each protocol, with its code
	waits     bool     // it has news that were not written
	passes    bool     // the filter
}

// merge adds a result, and reports whether that is news. A peer has a protocol once: of
// several payloads, as of the many deals of one provider, the first is told. What follows
// malformed metadata is not known.
func (r *record) merge(res ipni.Result) (news bool) {
	news = r.mergeAddrs(res.Provider.Addrs)
	if bytes.Equal(r.last.Metadata, res.Metadata) {
		return news
	}
	r.last.Metadata = res.Metadata
	for p, err := range ad.Protocols(res.Metadata) {
		if err != nil {
			break
		}
		name := p.Code.String()
		if slices.Contains(r.protocols, name) {
			continue
		}
		full, err := ad.Metadata(p)
		if err != nil {
			break
		}
		r.protocols, r.metadata, news = append(r.protocols, name), append(r.metadata, full), true
	}
	return news
}

func (r *record) mergeAddrs(addrs []multiaddr.Multiaddr) (news bool) {
	same := func(a, b multiaddr.Multiaddr) bool { return a.Equal(b) }
	if slices.EqualFunc(r.last.Provider.Addrs, addrs, same) { // as in most results of one provider
		return false
	}
	if r.known == nil {
		r.known = map[string]bool{}
	}
	r.last.Provider.Addrs = addrs
	for _, a := range addrs {
		if key := string(a.Bytes()); !r.known[key] {
			r.known[key], news = true, true
			r.addrs = append(r.addrs, a)
		}
	}
	return news
}

// append writes the record as JSON, with some of its addresses.
func (r *record) append(b []byte, addrs []multiaddr.Multiaddr) []byte {
	b = append(b, `{"Schema":"peer","ID":`...)
	b = jsonappend.String(b, r.id.String())
	b = append(b, `,"Addrs":[`...)
	for i, a := range addrs {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsonappend.String(b, a.String())
	}
	b = append(b, `],"Protocols":[`...)
	for i, name := range r.protocols {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsonappend.String(b, name)
	}
	b = append(b, ']')
	for i, name := range r.protocols {
		b = append(jsonappend.String(append(b, ','), name), ':')
		b = jsonappend.Base64(b, r.metadata[i])
	}
	return append(b, '}')
}

// records are the peers of one answer, in the order in which they were found.
type records struct {
	choose  *filter.Chooser
	byPeer  map[peer.ID]*record
	order   []*record
	results int
	passing int
}

func newRecords(f filter.Filter) *records {
	return &records{choose: f.Chooser(), byPeer: map[peer.ID]*record{}}
}

// add takes a result, and returns its peer's record if there is news of it.
func (rs *records) add(res ipni.Result) *record {
	rs.results++
	r := rs.byPeer[res.Provider.ID]
	fresh := r == nil
	if fresh {
		r = &record{id: res.Provider.ID}
		rs.byPeer[r.id] = r
		rs.order = append(rs.order, r)
	}
	if news := r.merge(res); !news && !fresh {
		return nil
	}
	_, passes := rs.choose.Choose(r.addrs, r.protocols)
	if passes != r.passes {
		r.passes = passes
		rs.passing++
		if !passes {
			rs.passing -= 2
		}
	}
	return r
}
