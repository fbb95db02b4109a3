package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/epwatch/epwatch/internal/diagnose"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/server"
	"github.com/epwatch/epwatch/tracer"
)

// documentedPort is the port of the notes.
const documentedPort = 8080

const (
	formatText = choice(render.FormatText)
	formatJSON = choice(render.FormatJSON)
)

// choice is one word out of a few. The words are checked when the flag is read, so that a wrong one is a usage error.
type choice string

type choiceFlag struct {
	value *choice
	words []string
}

func (f choiceFlag) String() string {
	if f.value == nil {
		return ""
	}
	return string(*f.value)
}

func (f choiceFlag) Set(s string) error {
	if !slices.Contains(f.words, s) {
		return fmt.Errorf("not one of %s", strings.Join(f.words, ", "))
	}
	*f.value = choice(s)
	return nil
}

func (f choiceFlag) Type() string { return strings.Join(f.words, "|") }

func addFormat(cmd *cobra.Command, format *choice) {
	words := []string{string(formatText), string(formatJSON)}
	cmd.Flags().Var(choiceFlag{format, words}, "format", "how to write the output")
	complete(cmd, "format", words)
}

func complete(cmd *cobra.Command, flag string, words []string) {
	// The only error is a flag that does not exist or has a completion already.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// sizeFlag is a number of bytes, with K, M or G behind it if wanted.
type sizeFlag struct{ bytes *int }

func (f sizeFlag) String() string {
	if f.bytes == nil || *f.bytes == 0 {
		return ""
	}
	for _, u := range sizeUnits() {
		if *f.bytes%u.bytes == 0 {
			return strconv.Itoa(*f.bytes/u.bytes) + u.letter
		}
	}
	return strconv.Itoa(*f.bytes)
}

func (f sizeFlag) Set(s string) error {
	number, unit := strings.ToUpper(s), 1
	number = strings.TrimSuffix(strings.TrimSuffix(number, "B"), "I")
	for _, u := range sizeUnits() {
		if short, ok := strings.CutSuffix(number, u.letter); ok {
			number, unit = short, u.bytes
			break
		}
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("not a size such as 512K or 8M")
	}
	if n <= 0 || n > tracer.MaxBuffer/unit {
		return fmt.Errorf("not between 1 and %s", sizeFlag{ptr(tracer.MaxBuffer)})
	}
	*f.bytes = n * unit
	return nil
}

func (f sizeFlag) Type() string { return "SIZE" }

func ptr[T any](v T) *T { return &v }

type sizeUnit struct {
	letter string
	bytes  int
}

func sizeUnits() []sizeUnit { return []sizeUnit{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} }

// checksFlag is a list of check codes, with "any" for all of them where that is allowed.
type checksFlag struct {
	codes    *[]string
	allowAny bool
}

const anyCheck = "any"

func (f checksFlag) String() string {
	if f.codes == nil {
		return ""
	}
	return strings.Join(*f.codes, ",")
}

func (f checksFlag) Set(s string) error {
	for code := range strings.SplitSeq(s, ",") {
		if code == anyCheck && f.allowAny {
			*f.codes = append(*f.codes, code)
			continue
		}
		if !slices.Contains(checkCodes(), code) {
			return fmt.Errorf("no check is called %q, only %s", code, strings.Join(checkCodes(), ", "))
		}
		*f.codes = append(*f.codes, code)
	}
	return nil
}

func (f checksFlag) Type() string {
	if f.allowAny {
		return "LIST|any"
	}
	return "LIST"
}

func checkCodes() []string {
	var codes []string
	for _, c := range diagnose.Checks() {
		codes = append(codes, c.Code)
	}
	return codes
}

// experimentFlags are what serve, client and trace share.
type experimentFlags struct {
	address    string
	port       int
	timeout    time.Duration
	documented bool
}

func (f *experimentFlags) addEndpoint(cmd *cobra.Command, port int, portHelp string) {
	cmd.Flags().StringVar(&f.address, "address", server.DefaultAddress, "IPv4 or IPv6 `ADDRESS` of the server")
	cmd.Flags().IntVar(&f.port, "port", port, portHelp)
}

func (f *experimentFlags) addTimeout(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.timeout, "client-timeout", server.DefaultTimeout, "how long the client waits with nothing coming")
	cmd.Flags().BoolVar(&f.documented, "documented", false, "use the time-out that the experiment was documented with")
}

// minTimeout keeps thresholds, which are half a time-out, well above what scheduling and ordering take.
const minTimeout = 50 * time.Millisecond

// check refuses what cannot be meant. lowest is the smallest port that makes sense.
func (f *experimentFlags) check(cmd *cobra.Command, lowest int) error {
	if f.port < lowest || f.port > 65535 {
		return usagef("invalid port %d (%d to 65535)", f.port, lowest)
	}
	if _, err := netip.ParseAddr(f.address); err != nil {
		return usagef("invalid address %q (an IPv4 or IPv6 address)", f.address)
	}
	if !cmd.Flags().Changed("client-timeout") {
		return nil
	}
	if f.documented {
		return usagef("--documented and --client-timeout exclude each other")
	}
	if f.timeout < minTimeout {
		return usagef("invalid client time-out %v (%v at least)", f.timeout, minTimeout)
	}
	return nil
}

// clientTimeout returns the time-out to use for a variant.
func (f *experimentFlags) clientTimeout(v server.Variant) time.Duration {
	if f.documented {
		return v.Documented()
	}
	return f.timeout
}

// oneVariant takes exactly one variant's name as the argument.
func oneVariant(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("a variant is missing, one that \"epwatch list\" shows")
	case len(args) > 1:
		return usagef("unexpected argument %q", args[1])
	}
	return knownVariant(args[0])
}

func knownVariant(name string) error {
	if _, ok := variantByName(name); !ok {
		return usagef("unknown variant %q, not one that \"epwatch list\" shows", name)
	}
	return nil
}

func variantNames() []string {
	var names []string
	for _, v := range variants() {
		names = append(names, v.Name)
	}
	return names
}

func completeVariant(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return variantNames(), cobra.ShellCompDirectiveNoFileComp
}
