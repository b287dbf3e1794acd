package trust

import (
	"bytes"
	"strings"
	"testing"
)

func TestStrictJSON(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct {
		name, in, why string // why "" = accepted
	}{
		{"plain", `{"a":[1,-2,0,true,null,"é"]}`, ""},
		{"space around", " {} \n", ""},
		{"same key in different objects", `{"a":{"b":1},"b":{"a":1}}`, ""},
		{"duplicate keys", `{"a":1,"b":2,"a":1}`, "duplicate key"},
		{"duplicate keys, one escaped", `{"a":1,"\u0061":2}`, "duplicate key"},
		{"duplicate keys deep down", `{"x":[{"a":1,"a":2}]}`, "duplicate key"},
		{"deepest nesting", nested(MaxDepth), ""},
		{"deep nesting", nested(MaxDepth + 1), "nested deeper"},
		{"endless nesting", strings.Repeat("[", 1_000_000), "nested deeper"},
		{"float", `{"version":1.0}`, "whole number"},
		{"exponent", `1e3`, "whole number"},
		{"minus zero", `-0`, "whole number"},
		{"leading zero", `{"a":01}`, "not valid JSON"},
		{"largest number", `9007199254740991`, ""},
		{"huge number", `9007199254740992`, "whole number"},
		{"huge negative number", `-9007199254740992`, "whole number"},
		{"number of a thousand digits", strings.Repeat("9", 1000), "whole number"},
		{"bad UTF-8", "\"\xff\"", "UTF-8"},
		{"overlong UTF-8", "\"\xc0\xaf\"", "UTF-8"},
		{"half a surrogate pair", `"\ud800"`, "surrogate"},
		{"replacement character", "\"\ufffd\"", "surrogate"},
		{"half a surrogate pair as key", `{"\udc00":1}`, "surrogate"},
		{"whole surrogate pair", `"\ud83d\ude00"`, ""},
		{"trailing data", `{} {}`, "after the JSON value"},
		{"trailing garbage", `{}x`, "after the JSON value"},
		{"trailing comma", `[1,]`, "not valid JSON"},
		{"missing comma", `[1 2]`, "not valid JSON"},
		{"key without value", `{"a"}`, "not valid JSON"},
		{"number as key", `{1:2}`, "not valid JSON"},
		{"control character", "\"\x01\"", "not valid JSON"},
		{"byte order mark", "\ufeff{}", "not valid JSON"},
		{"cut short", `{"a":[1,`, "not valid JSON"},
		{"empty", ``, "not valid JSON"},
		{"comment", `{} // x`, "after the JSON value"},
		{"closing alone", `]`, "not valid JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := parseStrict([]byte(c.in))
			switch {
			case c.why == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case c.why != "" && err == nil:
				t.Fatalf("accepted as %v", v)
			case c.why != "" && !strings.Contains(err.Error(), c.why):
				t.Fatalf("refused with %q, want %q", err, c.why)
			}
		})
	}
}

func TestOneForm(t *testing.T) {
	in := `{"b": {"y": "<&>", "x": 1},  "a": []}`
	v, err := parseStrict([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	form, err := encodeTree(v)
	if err != nil || string(form) != `{"a":[],"b":{"x":1,"y":"<&>"}}` {
		t.Fatalf("got %s, %v", form, err)
	}
	if _, err := parsePayload([]byte(in)); err == nil {
		t.Fatal("a payload in another form was taken")
	}
	if _, err := parsePayload(form); err != nil {
		t.Fatal(err)
	}
	message, err := canonical(map[string]any{"pem": "a\nb\"\\"})
	if err != nil || !bytes.Equal(message, []byte("{\"pem\":\"a\nb\\\"\\\\\"}")) {
		t.Fatalf("canonical form is %q, %v", message, err)
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"catalog/p/*/*", "catalog/p/1.0/manifest.toml", true},
		{"catalog/p/*/*", "catalog/p/1.0/x/manifest.toml", false},
		{"catalog/p/*/*", "catalog/p/manifest.toml", false},
		{"catalog/p/*/*", "catalog/q/1.0/manifest.toml", false},
		{"catalog/p/*/*", "/catalog/p/1.0/manifest.toml", false},
		{"registry/*", "registry/acme.toml", true},
		{"registry/*", "registry/a/b", false},
		{"registry/[", "registry/[", false},
		{"*", "x", true},
	} {
		if got := (Delegation{Paths: []string{c.pattern}}).Covers(c.path); got != c.want {
			t.Errorf("%q covers %q: %v", c.pattern, c.path, got)
		}
	}
}
