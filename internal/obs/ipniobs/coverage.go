package ipniobs

import "github.com/hashstream/hashstream/ipni/coverage"

// Providers tells how the providers of this index compare with those of another, or that it could not
// be told. Of more than eight others the rest share a label.
func (x *Metrics) Providers(against string, p coverage.Providers, err error) {
	if err != nil {
		x.cover(against, "", map[string]float64{"providers_failed": 1})
		return
	}
	x.cover(against, "", map[string]float64{
		"providers": p.Coverage, "ads_behind": float64(p.Ads), "max_ads_behind": float64(p.MaxAds),
		"providers_behind": float64(p.Behind), "providers_unclear": float64(p.Unclear), "providers_failed": 0,
	})
}

// Reads tells how the plain lookups of this index compare with those of another.
func (x *Metrics) Reads(against string, r coverage.Reads) { x.reads(against, "", r) }

// SealedReads tells how the encrypted lookups of this index compare with those of another.
func (x *Metrics) SealedReads(against string, r coverage.Reads) { x.reads(against, "encrypted_", r) }

// reads shows shares only while there is something that they are shares of.
func (x *Metrics) reads(against, prefix string, r coverage.Reads) {
	x.cover(against, prefix, map[string]float64{"reads_asked": float64(r.Asked), "reads_failed": float64(r.Failed)})
	shares := map[string]float64{
		"reads": r.Coverage, "reads_reverse": r.Reverse, "results": r.ResultCoverage, "not_found_ours": r.NotFoundOurs, "not_found_theirs": r.NotFoundTheirs,
	}
	if r.Asked > 0 {
		x.cover(against, prefix, shares)
		return
	}
	for measure := range shares {
		x.coverage.DeleteLabelValues(x.against.label(against), prefix+measure)
	}
}

func (x *Metrics) cover(against, prefix string, measures map[string]float64) {
	against = x.against.label(against)
	for measure, v := range measures {
		x.coverage.WithLabelValues(against, prefix+measure).Set(v)
	}
}
