package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/hashstream/hashstream/accept"
)

// Format is a kind of answer, by its name in the format parameter.
type Format string

// The formats.
const (
	FormatRaw    Format = "raw"         // one block
	FormatCAR    Format = "car"         // a CARv1 stream
	FormatBao    Format = "bao"         // a range of one BLAKE3 blob with its proof (docs/formats/bao.md)
	FormatRecord Format = "ipns-record" // a signed name record
)

func (f Format) mediaType() string {
	switch f {
	case FormatRaw:
		return typeRaw
	case FormatCAR:
		return typeCAR
	case FormatBao:
		return typeBao
	}
	return typeRecord
}

// choice is the outcome of negotiation.
type choice struct {
	variant
	vary   bool // the Accept header had a say
	locate bool // the URL alone does not say what is answered, or Accept says otherwise
}

const (
	askFor    = "Not acceptable: this gateway serves verifiable content only; ask for ?format=raw (one block) or ?format=car (a DAG), or send Accept: " + typeRaw + " or " + typeCAR + ". BLAKE3 blobs have ?format=bao too."
	askForCAR = "Not acceptable: CARs are served with version=1, order=dfs or order=unk, and dups=y or dups=n."
	askRecord = "Not acceptable: names are served as signed records only; ask for ?format=ipns-record or send Accept: " + typeRecord + "."
)

// negotiate settles the format of an answer below /ipfs/. The format parameter
// beats the Accept header (IPIP-523), and each car- parameter beats its
// counterpart there.
func negotiate(p *params, headers []string, hasPath bool) (choice, error) {
	if p.format != "" {
		return byParameter(p, headers)
	}
	ranges, err := parseAccept(headers)
	if err != nil {
		return choice{}, err
	}
	cars := offered(p)
	raw, proof := variant{format: FormatRaw}, variant{format: FormatBao}
	preferred := append([]variant{raw}, cars...)
	if hasPath { // raw cannot be had: it is chosen only to be refused
		preferred = cars
	}
	if named(ranges, FormatBao) { // no wildcard stands for it: few clients know what to do with it
		preferred = append(preferred, proof)
	}
	v, ok := pick(preferred, ranges, p, accept.AnySubtype)
	if !ok && hasPath {
		v, ok = pick([]variant{raw}, ranges, p, accept.Exact)
	}
	if !ok {
		return choice{}, notAcceptable(ranges)
	}
	if v.format == FormatCAR {
		err = p.checkCAR()
	}
	return choice{v, true, true}, err
}

func notAcceptable(ranges []accept.Range) error {
	for _, r := range ranges {
		if is(r, FormatRecord) {
			return refuse(http.StatusBadRequest, "Bad request: name records are found below /ipns/.")
		}
		if is(r, FormatCAR) && r.Weight > 0 {
			return refuse(http.StatusNotAcceptable, askForCAR)
		}
	}
	return refuse(http.StatusNotAcceptable, askFor)
}

// byParameter settles the format by ?format=. What a CAR still leaves open may
// come from Accept.
func byParameter(p *params, headers []string) (choice, error) {
	switch Format(p.format) {
	case FormatRaw, FormatBao:
		return blockByParameter(Format(p.format), headers)
	case FormatCAR:
		return carByParameter(p, headers)
	case FormatRecord:
		return choice{}, refuse(http.StatusBadRequest, "Bad request: name records are found below /ipns/.")
	}
	switch p.format {
	case "tar", "dag-json", "dag-cbor", "json", "cbor", "html":
		return choice{}, refuse(http.StatusNotAcceptable, askFor)
	}
	return choice{}, refuse(http.StatusBadRequest, "Bad request: format %q is unknown; ask for raw, car or bao.", clip(p.format))
}

func blockByParameter(f Format, headers []string) (choice, error) {
	c := choice{variant: variant{format: f}}
	if !mentions(headers) {
		return c, nil
	}
	ranges, err := parseAccept(headers)
	c.locate = !named(ranges, f)
	return c, err
}

// named reports whether an Accept header names f itself.
func named(ranges []accept.Range, f Format) bool {
	return slices.ContainsFunc(ranges, func(r accept.Range) bool { return is(r, f) })
}

func carByParameter(p *params, headers []string) (choice, error) {
	cars := offered(p)
	c := choice{variant: cars[0]}
	if err := p.checkCAR(); err != nil || !mentions(headers) {
		return c, err
	}
	ranges, err := parseAccept(headers)
	if err != nil {
		return c, err
	}
	named := false
	for _, r := range ranges {
		if !is(r, FormatCAR) || r.Weight == 0 {
			continue
		}
		named = true
		version, order, dups := r.Param("version"), r.Param("order"), r.Param("dups")
		c.locate = c.locate || version+order+dups != ""
		c.vary = c.vary || version != "" && p.version == "" || order != "" && p.order == "" || dups != "" && p.dups == ""
	}
	if !named {
		c.locate = true
		return c, nil
	}
	var ok bool
	if c.variant, ok = pick(cars, ranges, p, accept.Exact); !ok {
		return c, refuse(http.StatusNotAcceptable, askForCAR)
	}
	return c, nil
}

// offered returns the CARs that the URL allows, the server's preference first.
func offered(p *params) []variant {
	switch p.dups {
	case "y":
		return []variant{{FormatCAR, true}}
	case "n":
		return []variant{{FormatCAR, false}}
	}
	return []variant{{FormatCAR, false}, {FormatCAR, true}}
}

// pick returns the variant that is wanted most, of those that are named at least
// as specifically as least. "*/*" alone names nothing: a browser sends it, and
// wants none of these.
func pick(variants []variant, ranges []accept.Range, p *params, least int) (variant, bool) {
	var best variant
	var wanted accept.Preference
	for _, v := range variants {
		o := v.weigh(ranges, p)
		if o.Weight == 0 || o.Specificity < least {
			continue
		}
		if wanted.Weight == 0 || better(o, wanted) {
			best, wanted = v, o
		}
	}
	return best, wanted.Weight > 0
}

// mentions reports whether an Accept header could name one of our types, without
// parsing it.
func mentions(headers []string) bool {
	for _, h := range headers {
		if strings.Contains(strings.ToLower(h), "application/vnd.") {
			return true
		}
	}
	return false
}

// checkCAR refuses values of the car- parameters that cannot be served.
func (p *params) checkCAR() error {
	switch {
	case p.version != "" && p.version != "1":
		return refuse(http.StatusBadRequest, "Bad request: car-version %q cannot be served; only 1 can.", clip(p.version))
	case p.order != "" && p.order != "dfs" && p.order != "unk":
		return refuse(http.StatusBadRequest, "Bad request: car-order %q cannot be served; only dfs and unk can.", clip(p.order))
	case p.dups != "" && p.dups != "y" && p.dups != "n":
		return refuse(http.StatusBadRequest, "Bad request: car-dups is y or n, not %q.", clip(p.dups))
	}
	return nil
}

// negotiateRecord settles the format of an answer below /ipns/.
func negotiateRecord(p *params, headers []string) (choice, error) {
	record := variant{format: FormatRecord}
	if p.format != "" {
		if Format(p.format) != FormatRecord {
			return choice{}, refuse(http.StatusNotAcceptable, askRecord)
		}
		return choice{variant: record}, nil
	}
	ranges, err := parseAccept(headers)
	if err != nil {
		return choice{}, err
	}
	if _, ok := pick([]variant{record}, ranges, p, accept.AnySubtype); !ok {
		return choice{}, refuse(http.StatusNotAcceptable, askRecord)
	}
	return choice{record, true, true}, nil
}
