package diagnose

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// baselineVersion is the version of the baseline's form.
const baselineVersion = 1

// Baseline is the faults that are known and accepted.
type Baseline struct {
	Version  int        `json:"version"`
	Accepted []Accepted `json:"accepted"`
}

// Accepted is one fault of a baseline.
type Accepted struct {
	Fingerprint string `json:"fingerprint"`
	Comment     string `json:"comment"` // why it is accepted
}

// ReadBaseline reads what Write wrote, edited or not.
func ReadBaseline(r io.Reader) (*Baseline, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	b := &Baseline{}
	if err := d.Decode(b); err != nil {
		return nil, plain(err, text)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the baseline's end")
	}
	if b.Version != baselineVersion {
		return nil, fmt.Errorf("version %d is not known, only %d", b.Version, baselineVersion)
	}
	for i, a := range b.Accepted {
		switch {
		case a.Fingerprint == "":
			return nil, fmt.Errorf("entry %d has no fingerprint", i+1)
		case a.Comment == "":
			return nil, fmt.Errorf("entry %d, %q, has no comment that says why it is accepted", i+1, a.Fingerprint)
		case slices.ContainsFunc(b.Accepted[:i], func(other Accepted) bool { return other.Fingerprint == a.Fingerprint }):
			return nil, fmt.Errorf("%q is accepted twice", a.Fingerprint)
		}
	}
	return b, nil
}

// plain says what encoding/json means in the words of a reader of the file.
func plain(err error, text []byte) error {
	line := func(offset int64) int { return 1 + strings.Count(string(text[:min(offset, int64(len(text)))]), "\n") }
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the file is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("not JSON: it ends too early")
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON, in line %d", line(syntax.Offset))
	case errors.As(err, &wrong):
		return fmt.Errorf("line %d has a wrong type: %s", line(wrong.Offset), wrong.Value)
	default:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
}

// Write writes the baseline for people to edit and to compare.
func (b *Baseline) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(b)
}

// comment returns why a fault is accepted, empty when it is not. A nil baseline accepts nothing.
func (b *Baseline) comment(fingerprint string) string {
	if b == nil {
		return ""
	}
	i := slices.IndexFunc(b.Accepted, func(a Accepted) bool { return a.Fingerprint == fingerprint })
	if i < 0 {
		return ""
	}
	return b.Accepted[i].Comment
}

// With returns a baseline that accepts the faults of these groups as well. What stands in b already keeps its comment; a
// nil b is empty.
func (b *Baseline) With(found []*Group) *Baseline {
	out := &Baseline{Version: baselineVersion, Accepted: []Accepted{}}
	if b != nil {
		out.Accepted = slices.Clone(b.Accepted)
	}
	titles := make(map[string]string)
	for _, c := range Checks() {
		titles[c.Code] = c.Title
	}
	for _, g := range found {
		if g.Count == 0 || out.comment(g.Fingerprint) != "" {
			continue
		}
		out.Accepted = append(out.Accepted, Accepted{g.Fingerprint, "not looked into yet: " + titles[g.Check]})
	}
	return out
}

// Stale returns the accepted fingerprints that were not found again, although their check was answered. A finding that was taken
// back was found all the same: its program does now and then what was accepted.
func (e *Engine) Stale() []string {
	if e.opt.Baseline == nil {
		return nil
	}
	unanswered := make(map[string]bool)
	for _, c := range Checks() {
		unanswered[c.Code] = true
	}
	for _, v := range e.Verdicts() {
		unanswered[v.Check] = v.Result == UnknownNow
	}
	var stale []string
	for _, a := range e.opt.Baseline.Accepted {
		check, _, _ := strings.Cut(a.Fingerprint, "/")
		if !e.met[a.Fingerprint] && !unanswered[check] {
			stale = append(stale, a.Fingerprint)
		}
	}
	return stale
}
