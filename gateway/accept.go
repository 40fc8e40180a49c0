package gateway

import (
	"net/http"
	"slices"

	"github.com/hashstream/hashstream/accept"
)

// The media types that are served.
const (
	typeRaw    = "application/vnd.ipld.raw"
	typeCAR    = "application/vnd.ipld.car"
	typeBao    = "application/vnd.hashstream.bao"
	typeRecord = "application/vnd.ipfs.ipns-record"
)

// parseAccept reads the elements of all Accept headers.
func parseAccept(headers []string) ([]accept.Range, error) {
	ranges, err := accept.Parse(headers)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "Bad request: the Accept header has more than %d elements.", accept.MaxRanges)
	}
	return ranges, nil
}

// variant is one representation that can be asked for.
type variant struct {
	format Format
	dups   bool // of a CAR
}

// better reports whether p is wanted more than other. Equals keep the order of the
// server.
func better(p, other accept.Preference) bool {
	if p.Weight != other.Weight {
		return p.Weight > other.Weight
	}
	if exact := p.Specificity >= accept.Exact; exact != (other.Specificity >= accept.Exact) {
		return exact
	}
	return p.Position < other.Position
}

// weigh returns how much v is wanted. CAR parameters that the URL settled (those in
// pinned) are not compared.
func (v variant) weigh(ranges []accept.Range, pinned *params) accept.Preference {
	if v.format != FormatCAR {
		return accept.Weigh(ranges, v.format.mediaType(), nil)
	}
	return accept.Weigh(ranges, typeCAR, func(r accept.Range) int { return v.holds(r, pinned) })
}

// holds counts the CAR parameters of r that v fulfils. It is -1 if v does not fulfil one.
func (v variant) holds(r accept.Range, pinned *params) int {
	n := 0
	for _, p := range [...]struct {
		name, pinned string
		served       []string
	}{
		{"version", pinned.version, []string{"1"}},
		{"order", pinned.order, []string{"dfs", "unk"}},
		{"dups", pinned.dups, []string{yesNo(v.dups)}},
	} {
		asked := r.Param(p.name)
		if asked == "" || p.pinned != "" {
			continue
		}
		if !slices.Contains(p.served, asked) {
			return -1
		}
		n++
	}
	return n
}

// is reports whether r names f itself.
func is(r accept.Range, f Format) bool { return r.Match(f.mediaType()) == accept.Exact }

func yesNo(dups bool) string {
	if dups {
		return "y"
	}
	return "n"
}
