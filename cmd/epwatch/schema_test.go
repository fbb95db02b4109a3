package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
)

// schema is docs/json.md: by type of line the fields, with nested ones as "list[].field" and "object.field", and their types.
type schema map[string]map[string]string

const schemaPage = "../../docs/json.md"

var fieldRow = regexp.MustCompile("^\\| `([^`]+)` \\| ([a-z ]+) \\| .+ \\|$")

func readSchema(t *testing.T) schema {
	t.Helper()
	text, err := os.ReadFile(schemaPage)
	if err != nil {
		t.Fatal(err)
	}
	s := schema{}
	var fields map[string]string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "### "); ok {
			fields = map[string]string{}
			s[strings.ReplaceAll(heading, "`", "")] = fields
			continue
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		m := fieldRow.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("a row that is not understood: %s", line)
		}
		if fields[m[1]] != "" {
			t.Errorf("%s has two rows", m[1])
		}
		fields[m[1]] = m[2]
	}
	if len(s) < 10 {
		t.Fatalf("the page has %d types", len(s))
	}
	return s
}

// check holds lines against the tables, and notes which rows were of use.
func (s schema) check(lines string, used map[string]bool) error {
	for raw := range strings.Lines(lines) {
		d := json.NewDecoder(bytes.NewReader([]byte(raw)))
		d.UseNumber()
		var object map[string]any
		if err := d.Decode(&object); err != nil {
			return fmt.Errorf("%w: %s", err, raw)
		}
		kind, _ := object["type"].(string)
		if _, inspects := object["looks"]; inspects {
			kind += " of inspect"
		}
		if s[kind] == nil {
			return fmt.Errorf("no type is called %q: %s", kind, raw)
		}
		used[kind] = true
		if err := s.object(kind, "", object, used); err != nil {
			return fmt.Errorf("%w: %s", err, raw)
		}
	}
	return nil
}

func (s schema) object(kind, prefix string, object map[string]any, used map[string]bool) error {
	for name, v := range object {
		if err := s.value(kind, prefix+name, v, used); err != nil {
			return err
		}
	}
	return nil
}

func (s schema) value(kind, path string, v any, used map[string]bool) error {
	want := s[kind][path]
	used[kind+" "+path] = true
	wrong := fmt.Errorf("%s.%s is %T, the page says %q", kind, path, v, want)
	switch v := v.(type) {
	case map[string]any:
		if of, ok := strings.CutPrefix(want, "map of "); ok {
			for _, inner := range v {
				if !isA(inner, of) {
					return wrong
				}
			}
			return nil
		}
		if want != "object" {
			return wrong
		}
		return s.object(kind, path+".", v, used)
	case []any:
		for _, inner := range v {
			fields, isObject := inner.(map[string]any)
			switch {
			case isObject && want == "list":
				if err := s.object(kind, path+"[].", fields, used); err != nil {
					return err
				}
			case isObject || !isA(inner, strings.TrimPrefix(want, "list of ")):
				return wrong
			}
		}
		if !strings.HasPrefix(want, "list") {
			return wrong
		}
		return nil
	default:
		if !isA(v, want) {
			return wrong
		}
		return nil
	}
}

// isA accepts a type's name in the singular and in the plural.
func isA(v any, want string) bool {
	switch v := v.(type) {
	case string:
		return strings.TrimSuffix(want, "s") == "string"
	case bool:
		return want == "boolean"
	case json.Number:
		f, err := v.Float64()
		whole := err == nil && f == math.Trunc(f) && !strings.ContainsAny(v.String(), ".eE")
		return want == "number" || whole && strings.TrimSuffix(want, "s") == "integer"
	default:
		return false
	}
}

// TestSchemaCatchesDepartures makes sure that the comparison can fail.
func TestSchemaCatchesDepartures(t *testing.T) {
	if inVM() {
		return // there is no page
	}
	s := readSchema(t)
	good := `{"type":"note","ts":1,"pid":2,"text":"words"}` + "\n" + `{"type":"summary","duration":1,"events":{"read":1},` +
		`"unmatched":[{"reason":"r","count":1}],"unknown":[],"events_per_second":1.5,"checks":[{"check":"c","result":"clean"}]}` + "\n"
	if err := s.check(good, map[string]bool{}); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		`{"type":"nope"}`, `{"ts":1}`, `{"type":"note","ts":"1"}`, `{"type":"note","ts":1.5}`, `{"type":"note","more":1}`, `{"type":"note","text":null}`,
		`{"type":"note","text":["a"]}`, `{"type":"event","flags":[1]}`, `{"type":"event","flags":"a"}`, `{"type":"summary","events":{"read":"1"}}`,
		`{"type":"summary","unmatched":[{"reason":"r","more":1}]}`, `{"type":"summary","unmatched":["r"]}`, `{"type":"meta","clock":{"other":1}}`,
		`{"type":"meta","pids":[{"pid":1}]}`,
	} {
		if err := s.check(bad+"\n", map[string]bool{}); err == nil {
			t.Errorf("passes: %s", bad)
		}
	}
}

// TestSchemaOfExamples holds the renderer's examples against the page: they have what a short recording has not.
func TestSchemaOfExamples(t *testing.T) {
	if inVM() {
		return // there is no page
	}
	s, used := readSchema(t), map[string]bool{}
	for _, name := range []string{"observation", "several", "inspection"} {
		text, err := os.ReadFile("../../internal/render/testdata/" + name + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.check(string(text), used); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for kind := range s {
		if !used[kind] && !strings.HasPrefix(kind, "selftest") { // that is TestSelftest's
			t.Errorf("no example has a line of type %q", kind)
		}
	}
}

// checkSchema holds what was recorded against the page. The types that are named must all be there. VMs have no page, and the
// form of what is recorded does not depend on the kernel.
func checkSchema(t *testing.T, out string, types ...string) {
	t.Helper()
	if inVM() {
		return
	}
	used := map[string]bool{}
	if err := readSchema(t).check(out, used); err != nil {
		t.Error(err)
	}
	for _, kind := range types {
		if !used[kind] {
			t.Errorf("the recording has no line of type %q", kind)
		}
	}
	page, err := os.ReadFile(schemaPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range parse(t, out).events {
		if !strings.Contains(string(page), "`"+e.Kind.String()+"`") {
			t.Errorf("the page does not know the kind %s", e.Kind)
		}
	}
}
