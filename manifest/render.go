package manifest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// tomlWriter renders the one form of TOML that Kitchen writes: keys in a fixed
// order, one per line, basic strings, zero values left out by the caller.
type tomlWriter struct{ b []byte }

func (w *tomlWriter) blank()              { w.b = append(w.b, '\n') }
func (w *tomlWriter) table(header string) { w.b = append(append(w.b, header...), '\n') }

func (w *tomlWriter) key(key string) { w.b = append(append(w.b, key...), " = "...) }

func (w *tomlWriter) str(key, value string) {
	w.key(key)
	w.b = append(appendQuoted(w.b, value), '\n')
}

func (w *tomlWriter) int(key string, value int64) {
	w.key(key)
	w.b = append(strconv.AppendInt(w.b, value, 10), '\n')
}

func (w *tomlWriter) flag(key string, value bool) {
	if value {
		w.key(key)
		w.b = append(w.b, "true\n"...)
	}
}

func (w *tomlWriter) time(key string, t time.Time) {
	w.key(key)
	w.b = append(t.UTC().AppendFormat(w.b, time.RFC3339), '\n')
}

// list leaves an empty list out.
func (w *tomlWriter) list(key string, values []string) {
	if len(values) == 0 {
		return
	}
	w.key(key)
	w.b = append(w.b, '[')
	for i, v := range values {
		if i > 0 {
			w.b = append(w.b, ", "...)
		}
		w.b = appendQuoted(w.b, v)
	}
	w.b = append(w.b, "]\n"...)
}

// appendQuoted renders a basic string (TOML 1.0): only what must be escaped is.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == 0x7f:
			b = fmt.Appendf(b, `\u%04X`, r)
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

func (m *Manifest) render() []byte {
	w := &tomlWriter{}
	w.int("format", int64(m.Format))
	w.str("product", m.Product)
	w.str("version", m.Version)
	w.str("kind", m.Kind)
	w.list("from", m.From)
	if m.Summary != "" {
		w.str("summary", m.Summary)
	}
	w.requires(&m.Requires)
	w.blank()
	w.table("[marmite]")
	w.artifact(&m.Marmite)
	for i := range m.Artifacts {
		w.blank()
		w.table("[[artifact]]")
		w.artifact(&m.Artifacts[i])
	}
	return w.b
}

func (w *tomlWriter) requires(r *Requires) {
	if len(r.Arch) == 0 && r.CPUs == 0 && r.MemoryGiB == 0 && r.DiskGiB == 0 && len(r.Labels) == 0 {
		return
	}
	w.blank()
	w.table("[requires]")
	w.list("arch", r.Arch)
	for _, need := range []struct {
		key string
		n   int
	}{{"cpus", r.CPUs}, {"memory_gib", r.MemoryGiB}, {"disk_gib", r.DiskGiB}} {
		if need.n != 0 {
			w.int(need.key, int64(need.n))
		}
	}
	w.list("labels", r.Labels)
}

// artifact leaves the kind of the marmite out: its table says it.
func (w *tomlWriter) artifact(a *Artifact) {
	w.str("path", a.Path)
	if a.Kind != KindMarmite {
		w.str("kind", a.Kind)
	}
	w.int("size", a.Size)
	w.str("sha256", a.SHA256)
	w.b = fmt.Appendf(w.b, "stored = { sha256 = \"%s\", size = %d, encoding = \"%s\" }\n",
		a.Stored.SHA256, a.Stored.Size, a.Stored.Encoding)
	if a.Chunked() {
		w.b = fmt.Appendf(w.b, "index = { sha256 = \"%s\", size = %d }\n", a.Index.SHA256, a.Index.Size)
	}
	w.deltas(a.Deltas)
	if len(a.Files) == 0 {
		return
	}
	w.table("files = [")
	for i := range a.Files {
		w.treeFile(&a.Files[i])
	}
	w.table("]")
}

func (w *tomlWriter) deltas(deltas []Delta) {
	if len(deltas) == 0 {
		return
	}
	w.table("deltas = [")
	for _, d := range deltas {
		w.b = fmt.Appendf(w.b, "  { from = \"%s\", churn = \"%s\", sha256 = \"%s\", size = %d },\n", d.From, d.Churn, d.SHA256, d.Size)
	}
	w.table("]")
}

// treeFile writes one line per entry, so that two manifests compare by line.
func (w *tomlWriter) treeFile(f *TreeFile) {
	w.b = append(w.b, "  { path = "...)
	w.b = appendQuoted(w.b, f.Path)
	switch {
	case f.Link != "":
		w.b = append(w.b, ", link = "...)
		w.b = appendQuoted(w.b, f.Link)
	case strings.HasSuffix(f.Path, "/"):
	default:
		w.b = fmt.Appendf(w.b, ", size = %d, sha256 = \"%s\"", f.Size, f.SHA256)
		if f.Executable {
			w.b = append(w.b, ", executable = true"...)
		}
	}
	w.b = append(w.b, " },\n"...)
}
