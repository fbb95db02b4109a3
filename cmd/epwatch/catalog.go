package main

import (
	"slices"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/server"
)

// gallery returns the pieces of the gallery, without pairs whose check this program does not have. It stands here because only the commands know both
// the servers and the checks.
func gallery() []server.Variant {
	var known []string
	for _, c := range diagnose.Checks() {
		known = append(known, c.Code)
	}
	// An innocent is nobody's twin, and must give nothing whichever checks there are.
	return slices.DeleteFunc(server.Gallery(), func(v server.Variant) bool {
		return v.Partner != "" && !slices.Contains(known, v.Check)
	})
}

// variants returns everything that trace, serve and client know: the experiments, then the gallery.
func variants() []server.Variant { return slices.Concat(server.Variants(), gallery()) }

// variantByName returns the variant of that name, and whether there is one.
func variantByName(name string) (server.Variant, bool) {
	all := variants()
	i := slices.IndexFunc(all, func(v server.Variant) bool { return v.Name == name })
	if i < 0 {
		return server.Variant{}, false
	}
	return all[i], true
}
