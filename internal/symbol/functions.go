package symbol

import (
	"cmp"
	"slices"
	"sort"
)

// function is one with its first address and its length, 0 where that is not known.
type function struct {
	start, size uint64
	name        string
}

// functions are in ascending order, one for each address.
type functions []function

// sorted puts functions in order. Of several names for one address the first that has a length is kept.
func sorted(list []function) functions {
	slices.SortStableFunc(list, func(a, b function) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.size, a.size))
	})
	return slices.Clip(slices.CompactFunc(list, func(a, b function) bool { return a.start == b.start }))
}

// reach is how far behind the beginning of a function without a length an address may be its own.
const reach = 1 << 20

// at returns the name of the function that an address belongs to, empty for none.
func (f functions) at(address uint64) string {
	i := sort.Search(len(f), func(i int) bool { return f[i].start > address }) - 1
	if i < 0 {
		return ""
	}
	limit := f[i].size
	if limit == 0 {
		limit = reach
	}
	if address-f[i].start >= limit {
		return ""
	}
	return f[i].name
}
