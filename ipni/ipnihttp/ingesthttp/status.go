package ingesthttp

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// State is what became of an advertisement.
type State string

// The states.
const (
	Unknown   State = "unknown"
	Pending   State = "pending"   // known, and to be processed
	Indexed   State = "indexed"   // processed
	Skipped   State = "skipped"   // given up: it is malformed, or its signature is wrong
	Resyncing State = "resyncing" // to be processed again
)

// AdStatus is the status of an advertisement.
type AdStatus struct {
	State  State
	Reason string    // why it was skipped, or what it waits for
	Time   time.Time // since when it is indexed or skipped; zero if unknown
	Frozen bool      // its entries were left out, for the node takes none
}

// PublisherStatus is how far the chain of a publisher is read.
type PublisherStatus struct {
	Publisher   peer.AddrInfo
	Head        cid.Cid   // the newest advertisement; undefined if none is known
	HeadTime    time.Time // since when it is known
	Contact     time.Time // when the publisher answered last
	LastAd      cid.Cid   // that was processed last
	LastTime    time.Time
	Ads         uint64 // that were processed
	Skipped     uint64 // of them
	Multihashes uint64 // that were indexed
	Lag         uint64 // advertisements that are known to be left
	Error       string // of the last attempt, if that failed
	ErrorTime   time.Time
	Next        time.Time // attempt
	Active      bool      // it is being worked on
	Inactive    bool      // it is not polled any more
	Blocked     bool      // by the policy
	Frozen      bool      // entries wait for the node to take them
}

// adDocument is an AdStatus as storetheindex tells it, and its reason in any state.
type adDocument struct {
	Ad          string
	Indexed     bool
	IndexedTime string `json:",omitempty"`
	State       State  `json:",omitempty"`
	Reason      string `json:",omitempty"`
	SkipReason  string `json:",omitempty"`
	SkippedTime string `json:",omitempty"`
	Frozen      bool
	Error       string `json:",omitempty"`
}

const microseconds = "2006-01-02T15:04:05.000000Z07:00"

func (s AdStatus) document(c cid.Cid) adDocument {
	d := adDocument{Ad: c.String(), State: s.State, Reason: s.Reason, Frozen: s.Frozen, Indexed: s.State == Indexed && !s.Frozen}
	at := ""
	if !s.Time.IsZero() {
		at = s.Time.UTC().Format(microseconds)
	}
	switch {
	case s.State == Skipped:
		d.SkipReason, d.SkippedTime = s.Reason, at
	case d.Indexed:
		d.IndexedTime = at
	}
	return d
}

// parseAd reads the CID of an advertisement. Who asks for that of content, which is the
// only one that most have, is told where to ask.
func parseAd(text string) (cid.Cid, error) {
	if len(text) > maxName {
		return cid.Undef, wire.Refuse(http.StatusBadRequest, "a CID of %d bytes", len(text))
	}
	c, err := cid.Decode(text)
	if err != nil {
		return cid.Undef, wire.Refuse(http.StatusBadRequest, "cannot decode advertisement cid")
	}
	if codec := c.Prefix().Codec; codec != cid.DagJSON && codec != cid.DagCBOR {
		return cid.Undef, wire.Refuse(http.StatusBadRequest, "an advertisement has a CID of dag-json or dag-cbor; ask /cid/%s for content", c)
	}
	return c, nil
}

// ad answers the status of an advertisement.
func (h *Handler) ad(w http.ResponseWriter, r *http.Request) error {
	c, err := parseAd(strings.TrimPrefix(r.URL.Path, "/sync/status/ad/"))
	if err != nil {
		return err
	}
	s, err := h.ingest.Ad(r.Context(), c)
	if err != nil {
		return unavailable(err)
	}
	return document(w, s.document(c))
}

// unavailable keeps a failure to know from being taken for absence.
func unavailable(err error) error {
	return &wire.Error{Status: wire.LookupStatus(err), Reason: "the status cannot be told now"}
}

// ads answers the status of many.
func (h *Handler) ads(w http.ResponseWriter, r *http.Request) error {
	data, err := read(w, r)
	if err != nil {
		return err
	}
	var req struct{ Ads []string }
	if err := json.Unmarshal(data, &req); err != nil {
		return wire.Refuse(http.StatusBadRequest, "malformed request body")
	}
	if n := len(req.Ads); n == 0 || n > maxAds {
		return wire.Refuse(http.StatusBadRequest, "%d advertisements: 1 to %d may be asked for", n, maxAds)
	}
	out := struct{ Statuses []adDocument }{make([]adDocument, len(req.Ads))}
	for i, text := range req.Ads {
		if out.Statuses[i], err = h.oneOf(r.Context(), text); err != nil {
			return unavailable(err)
		}
	}
	return document(w, out)
}

// oneOf returns the status of an advertisement in a list, in which a bad one spoils nothing.
func (h *Handler) oneOf(ctx context.Context, text string) (adDocument, error) {
	c, err := parseAd(text)
	if err != nil {
		return adDocument{Ad: text[:min(len(text), maxName)], Error: err.Error()}, nil
	}
	s, err := h.ingest.Ad(ctx, c)
	return s.document(c), err
}

// publishers answers the status of all publishers, or of one.
func (h *Handler) publishers(w http.ResponseWriter, r *http.Request) error {
	var only peer.ID
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/sync/status"), "/")
	if name != "" {
		var err error
		if only, err = parsePeer(name); err != nil {
			return err
		}
	}
	all, err := h.ingest.Publishers(r.Context(), only)
	switch {
	case err != nil:
		return unavailable(err)
	case len(all) == 0:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case only != "":
		return document(w, all[0].document())
	}
	out := make(map[string]publisherDocument, len(all))
	for _, s := range all {
		out[s.Publisher.ID.String()] = s.document()
	}
	return document(w, out)
}

func parsePeer(name string) (peer.ID, error) {
	if len(name) > maxName {
		return "", wire.Refuse(http.StatusBadRequest, "a peer id of %d bytes", len(name))
	}
	id, err := peer.Decode(name)
	if err != nil {
		return "", wire.Refuse(http.StatusBadRequest, "cannot decode peer id")
	}
	return id, nil
}

// publisherDocument is a PublisherStatus: what storetheindex tells of a run, as far as it is
// known, and what it does not.
type publisherDocument struct {
	Scan       *run `json:",omitempty"`
	Processing *run `json:",omitempty"`
	Download   *run `json:",omitempty"`

	Publisher         peer.AddrInfo
	Head              string    `json:",omitempty"`
	HeadTime          time.Time `json:",omitzero"`
	LastContact       time.Time `json:",omitzero"`
	LastAd            string    `json:",omitempty"`
	LastAdTime        time.Time `json:",omitzero"`
	Lag               uint64
	Skipped           uint64    `json:",omitempty"`
	LastError         string    `json:",omitempty"`
	LastErrorTime     time.Time `json:",omitzero"`
	NextAttempt       time.Time `json:",omitzero"`
	Inactive, Blocked bool      `json:",omitempty"`
	Frozen            bool      `json:",omitempty"`
}

type run struct {
	Ongoing        bool   `json:",omitempty"`
	Error          string `json:",omitempty"`
	HeadAd         string `json:",omitempty"`
	CurrentAd      string `json:",omitempty"`
	AdsProcessed   uint64 `json:",omitempty"`
	AdsTotal       uint64 `json:",omitempty"`
	AdsLeft        uint64 `json:",omitempty"`
	MultihashCount uint64 `json:",omitempty"`
}

func (s PublisherStatus) document() publisherDocument {
	return publisherDocument{
		Scan:       &run{HeadAd: text(s.Head)},
		Processing: &run{Ongoing: s.Active, Error: s.Error, CurrentAd: text(s.LastAd), AdsProcessed: s.Ads, AdsTotal: s.Ads + s.Lag, AdsLeft: s.Lag},
		Download:   &run{MultihashCount: s.Multihashes},
		Publisher:  s.Publisher, Head: text(s.Head), HeadTime: s.HeadTime, LastContact: s.Contact, LastAd: text(s.LastAd), LastAdTime: s.LastTime,
		Lag: s.Lag, Skipped: s.Skipped, LastError: s.Error, LastErrorTime: s.ErrorTime, NextAttempt: s.Next,
		Inactive: s.Inactive, Blocked: s.Blocked, Frozen: s.Frozen,
	}
}

func text(c cid.Cid) string {
	if !c.Defined() {
		return ""
	}
	return c.String()
}
