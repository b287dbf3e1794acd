package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

const (
	maxJSONDepth = 32
	maxSafeInt   = 1<<53 - 1 // beyond it readers that keep numbers as floats lose digits
)

// CheckJSON accepts one JSON value (RFC 8259) that every reader understands
// alike: valid UTF-8, no key twice in an object, at most 32 levels deep,
// nothing after it. The caller caps the size.
func CheckJSON(data []byte) error {
	_, err := parseJSON(data)
	return err
}

// parseJSON gives the checked value: map[string]any, []any, string, bool,
// json.Number or nil. Object keys keep their case.
func parseJSON(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	if !json.Valid(data) {
		return nil, errors.New("not one JSON value")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return jsonValue(d, 0)
}

func jsonValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("JSON nested more than %d levels deep", maxJSONDepth)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return jsonObject(d, depth)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := jsonValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return token, nil
}

func jsonObject(d *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string)
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("JSON key %q appears twice in one object", clip(key))
		}
		if object[key], err = jsonValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return object, err
}

// fields reads members of JSON objects by their exact names and keeps the
// first error. Members it is not asked for are ignored.
type fields struct{ err error }

func (f *fields) fail(key, format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%s %s", key, fmt.Sprintf(format, args...))
	}
}

func (f *fields) object(v any, key string) map[string]any {
	o, ok := v.(map[string]any)
	if !ok {
		f.fail(key, "is missing or not an object")
	}
	return o
}

// list gives nil for a member that is absent.
func (f *fields) list(o map[string]any, key string, max int) []any {
	v, there := o[key]
	if !there {
		return nil
	}
	l, ok := v.([]any)
	if !ok {
		f.fail(key, "is not a list")
	}
	if len(l) > max {
		f.fail(key, "has more than %d entries", max)
		return nil
	}
	return l
}

// text gives "" for a member that is absent.
func (f *fields) text(o map[string]any, key string) string {
	v, there := o[key]
	s, ok := v.(string)
	if there && !ok {
		f.fail(key, "is not a string")
	}
	return s
}

// strings gives nil for a list that is absent or empty.
func (f *fields) strings(o map[string]any, key string, max int) []string {
	var out []string
	for _, v := range f.list(o, key, max) {
		s, ok := v.(string)
		if !ok {
			f.fail(key, "has an entry that is not a string")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// int wants a whole number from 0 to 2^53-1, written as digits.
func (f *fields) int(o map[string]any, key string) int64 {
	number, ok := o[key].(json.Number)
	n, err := number.Int64()
	if !ok || err != nil || n < 0 || n > maxSafeInt {
		f.fail(key, "is missing or not a whole number below 2^53")
		return 0
	}
	return n
}

// time wants RFC 3339 in the one form that Kitchen writes: UTC, whole seconds, "Z".
func (f *fields) time(o map[string]any, key string) time.Time {
	s := f.text(o, key)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.UTC().Format(time.RFC3339) != s {
		f.fail(key, "is missing or not a time such as 2026-01-31T12:00:00Z")
		return time.Time{}
	}
	return t.UTC()
}
