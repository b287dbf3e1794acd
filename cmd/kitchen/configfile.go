package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/keys"
)

// configFile is a kitchen.toml in the making.
type configFile struct {
	path string
	text bytes.Buffer
}

func newConfigFile(by, path string) *configFile {
	c := &configFile{path: path}
	c.line("# Written by " + by + ". Paths are relative to this file.")
	return c
}

func (c *configFile) line(s string) { c.text.WriteString(s + "\n") }

func (c *configFile) set(key, value string) {
	fmt.Fprintf(&c.text, "%-8s= %s\n", key+" ", tomlString(value))
}

func (c *configFile) list(key string, values ...string) {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = tomlString(v)
	}
	c.line(key + " = [" + strings.Join(quoted, ", ") + "]")
}

// relative rewrites a path, relative to the working directory, as relative to
// the file's directory. Absolute paths and URIs of keys stay.
func (c *configFile) relative(path string) string {
	if filepath.IsAbs(path) || keys.IsURI(path) {
		return path
	}
	dir, err := filepath.Abs(filepath.Dir(c.path))
	if err != nil {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(dir, abs); err == nil {
		return rel
	}
	return abs
}

// stateName is the state directory beside the file: "state" for kitchen.toml,
// "state-ci" for ci.toml, so that two files in one directory do not share one.
func (c *configFile) stateName() string {
	name := strings.TrimSuffix(filepath.Base(c.path), ".toml")
	if name == "kitchen" {
		return "state"
	}
	return "state-" + name
}

// write creates the file; it never overwrites one.
func (c *configFile) write() error {
	return durable.CreateExclusive(c.path, c.text.Bytes(), 0o644)
}

// tomlString quotes s as a TOML basic string, whose escapes JSON's are a subset of.
func tomlString(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}
