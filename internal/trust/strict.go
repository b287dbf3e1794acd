package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
)

// Limits of the JSON this package reads. The size is the caller's to cap, before it reads.
const (
	MaxDepth   = 32        // nested objects and arrays
	MaxInteger = 1<<53 - 1 // largest absolute value of a number
)

// parseStrict reads one JSON value of which every reader must get the same idea: valid UTF-8 without the
// replacement character (as which Go shows half a surrogate pair), no duplicate keys, at most MaxDepth deep,
// numbers only as whole decimals up to MaxInteger, nothing after the value. Numbers come as json.Number.
func parseStrict(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	p := strictParser{dec: dec}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("data after the JSON value")
	}
	if !json.Valid(data) { // the token reader is a little more forgiving than the grammar
		return nil, errors.New("not valid JSON")
	}
	return v, nil
}

type strictParser struct{ dec *json.Decoder }

func (p strictParser) value(depth int) (any, error) {
	tok, err := p.dec.Token()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	switch tok := tok.(type) {
	case json.Delim:
		if depth >= MaxDepth {
			return nil, fmt.Errorf("nested deeper than %d", MaxDepth)
		}
		switch tok {
		case '{':
			return p.object(depth)
		case '[':
			return p.array(depth)
		}
		return nil, errors.New("not valid JSON")
	case json.Number:
		return tok, checkInteger(tok.String())
	case string:
		return tok, checkString(tok)
	default: // bool, nil
		return tok, nil
	}
}

func (p strictParser) object(depth int) (any, error) {
	object := map[string]any{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return nil, fmt.Errorf("not valid JSON: %w", err)
		}
		key, ok := tok.(string)
		if !ok {
			return nil, errors.New("not valid JSON: a key is not a string")
		}
		if err := checkString(key); err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("duplicate key %q", clip(key, 80))
		}
		if object[key], err = p.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := p.dec.Token()
	return object, err
}

func (p strictParser) array(depth int) (any, error) {
	array := []any{}
	for p.dec.More() {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err := p.dec.Token()
	return array, err
}

func checkString(s string) error {
	if strings.ContainsRune(s, utf8.RuneError) {
		return errors.New("a string holds half a surrogate pair or the replacement character")
	}
	return nil
}

func checkInteger(literal string) error {
	n, err := strconv.ParseInt(literal, 10, 64)
	if err != nil || n > MaxInteger || n < -MaxInteger || strconv.FormatInt(n, 10) != literal {
		return fmt.Errorf("number %s is not a whole number within ±2^53", clip(literal, 40))
	}
	return nil
}

// encodeTree writes a value as parseStrict gives it: compact, keys sorted bytewise, the one form in which
// Kitchen publishes. It is valid JSON, which the form that gets signed is not always (see canonical).
func encodeTree(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// canonical is what signatures are made over: OLPC canonical JSON (TUF 4.1). It escapes nothing but the quote
// and the backslash, so a PEM key puts raw newlines in it and no JSON parser reads it back.
func canonical(v any) ([]byte, error) {
	return cjson.EncodeCanonical(v)
}
