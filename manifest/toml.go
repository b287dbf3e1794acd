package manifest

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// FileError reports what is wrong with a document that people write, and where.
type FileError struct {
	Name   string // the document, as the caller named it
	Line   int    // 1-based; 0 when no line is to blame, such as for a missing key
	Reason string
	Err    error // the cause, where it is typed
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return e.Name + ": " + e.Reason
	}
	return fmt.Sprintf("%s:%d: %s", e.Name, e.Line, e.Reason)
}

func (e *FileError) Unwrap() error { return e.Err }

// fieldError blames one key of a document, by its path: "artifact[1].path".
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string { return e.path + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

func field(path string, err error) error {
	if err == nil {
		return nil
	}
	return &fieldError{path, err}
}

func fieldf(path, format string, args ...any) error {
	return &fieldError{path, fmt.Errorf(format, args...)}
}

// located turns a fieldError into a FileError with the line of the key, or of
// the table that lacks it.
func located(name string, data []byte, err error) error {
	if f, ok := errors.AsType[*fieldError](err); ok {
		return &FileError{Name: name, Line: lineOf(data, f.path), Reason: f.Error(), Err: f.err}
	}
	return &FileError{Name: name, Reason: err.Error(), Err: err}
}

// DecodeTOML reads a TOML 1.0 document into the struct that into points to,
// strictly: keys match `toml` tags exactly, case included, a key without a
// field is an error, and so is a value of another type. Every error is a
// *FileError and carries the line. Supported fields are strings, bools, ints,
// time.Time with an offset, encoding.TextUnmarshaler from a string, and
// structs, slices and string maps of these. Nesting ends at 32 levels.
func DecodeTOML(name string, data []byte, into any) error {
	if line, reason := scanTOML(data, nil); reason != "" {
		return &FileError{Name: name, Line: line, Reason: reason}
	}
	var doc map[string]any
	if _, err := toml.Decode(string(data), &doc); err != nil {
		if p, ok := errors.AsType[toml.ParseError](err); ok {
			return &FileError{Name: name, Line: p.Position.Line, Reason: p.Message, Err: err}
		}
		return &FileError{Name: name, Reason: err.Error(), Err: err}
	}
	if err := fill(doc, reflect.ValueOf(into).Elem(), ""); err != nil {
		return located(name, data, err)
	}
	return nil
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// fill copies the library's generic value into a typed field. It exists because
// the library matches keys without regard to case, and cannot tell the line of a
// mismatch in the second table of an array.
func fill(v any, to reflect.Value, path string) error {
	if _, isTime := to.Interface().(time.Time); isTime {
		return fillTime(v, to, path)
	}
	if to.CanAddr() && to.Addr().Type().Implements(textUnmarshaler) {
		s, ok := v.(string)
		if !ok {
			return mismatch(path, "a string", v)
		}
		return field(path, to.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)))
	}
	switch to.Kind() {
	case reflect.Struct:
		return fillStruct(v, to, path)
	case reflect.Map:
		return fillMap(v, to, path)
	case reflect.Slice:
		return fillSlice(v, to, path)
	case reflect.String:
		s, ok := v.(string)
		if !ok {
			return mismatch(path, "a string", v)
		}
		to.SetString(s)
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok {
			return mismatch(path, "true or false", v)
		}
		to.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, ok := v.(int64)
		if !ok || to.OverflowInt(n) {
			return mismatch(path, "an integer", v)
		}
		to.SetInt(n)
	default:
		return fieldf(path, "fields of type %s are not supported", to.Type())
	}
	return nil
}

func fillTime(v any, to reflect.Value, path string) error {
	t, ok := v.(time.Time)
	if !ok || t.Nanosecond() != 0 || strings.HasSuffix(t.Location().String(), "-local") {
		return mismatch(path, "a time with its offset and whole seconds, such as 2026-01-31T12:00:00Z", v)
	}
	to.Set(reflect.ValueOf(t.UTC()))
	return nil
}

func fillStruct(v any, to reflect.Value, path string) error {
	table, ok := v.(map[string]any)
	if !ok {
		return mismatch(path, "a table", v)
	}
	fields := make(map[string]reflect.Value, to.NumField())
	known := make([]string, 0, to.NumField())
	for i := range to.NumField() {
		if tag := to.Type().Field(i).Tag.Get("toml"); tag != "" {
			fields[tag] = to.Field(i)
			known = append(known, tag)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		f, ok := fields[key]
		if !ok {
			return fieldf(joinKey(path, key), "unknown key; known here: %s", strings.Join(known, ", "))
		}
		if err := fill(table[key], f, joinKey(path, key)); err != nil {
			return err
		}
	}
	return nil
}

func fillMap(v any, to reflect.Value, path string) error {
	table, ok := v.(map[string]any)
	if !ok {
		return mismatch(path, "a table", v)
	}
	to.Set(reflect.MakeMapWithSize(to.Type(), len(table)))
	for _, key := range slices.Sorted(maps.Keys(table)) {
		elem := reflect.New(to.Type().Elem()).Elem()
		if err := fill(table[key], elem, joinKey(path, key)); err != nil {
			return err
		}
		to.SetMapIndex(reflect.ValueOf(key).Convert(to.Type().Key()), elem)
	}
	return nil
}

func fillSlice(v any, to reflect.Value, path string) error {
	list := reflect.ValueOf(v)
	if list.Kind() != reflect.Slice {
		return mismatch(path, "a list", v)
	}
	to.Set(reflect.MakeSlice(to.Type(), list.Len(), list.Len()))
	for i := range list.Len() {
		if err := fill(list.Index(i).Interface(), to.Index(i), indexKey(path, i)); err != nil {
			return err
		}
	}
	return nil
}

func mismatch(path, want string, got any) error {
	return fieldf(path, "wants %s, not %s", want, tomlType(got))
}

func tomlType(v any) string {
	switch v := v.(type) {
	case string:
		return "a string"
	case int64:
		return fmt.Sprintf("the integer %d", v)
	case float64:
		return "a float"
	case bool:
		return fmt.Sprintf("%t", v)
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	}
	return "a list"
}

func joinKey(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func indexKey(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
