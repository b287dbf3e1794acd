package publisher

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// Schemas of a SigningFile.
const (
	signingSchema  = "kitchen.signing/v1"  // proposals of a catalog
	ceremonySchema = "kitchen.ceremony/v1" // a catalog that is still to be made
)

// MaxSigningFile is the most bytes of a signing file that are read or written.
const MaxSigningFile = 64 << 20

// maxSigningNames is how many objects a signing file names at most: what it takes to look through them grows with it, whatever
// their size.
const maxSigningNames = 50_000

// A SigningFile is what travels between signers who have no network in common: the objects of a catalog that a
// signer needs, under their own keys. It is a store (storage.Store), in memory and without the right to swap or to
// delete, so that a signer's machine looks at it with the very code that looks at a bucket; and it deserves no more
// belief than one.
//
// Its bytes are one JSON object, indented by two spaces, keys sorted, with a line feed at the end:
//
//	{
//	  "catalog": "s3://bucket/prefix",     where it was written: words for people
//	  "objects": {"<key>": "<base64>", …}, at most 64 MiB altogether, and with sizes 50,000 names
//	  "role": "targets",                   whose proposals these are; "" for a catalog that is still to be made
//	  "schema": "kitchen.signing/v1",
//	  "sizes": {"<key>": 123, …}           bytes of objects that the catalog has and the file has not
//	}
//
// There is no other form: what is not byte for byte what Kitchen writes is refused.
type SigningFile struct {
	Catalog string            `json:"catalog"`
	Objects map[string][]byte `json:"objects"`
	Role    string            `json:"role"`
	Schema  string            `json:"schema"`
	Sizes   map[string]int64  `json:"sizes"`

	mu sync.Mutex // guards the maps while the file is used as a store
}

// NotASigningFile is a file that is none (exit 4).
type NotASigningFile struct{ Reason string }

func (e *NotASigningFile) Error() string { return "this is no signing file of Kitchen: " + e.Reason }

// Hint says what to do.
func (e *NotASigningFile) Hint() string {
	return "it was altered, cut short, or made by another program: ask whoever sent it for it again, and compare its sha256 by another way (kitchen sign ROLE --export FILE and kitchen init --ceremony FILE write such files)"
}

// ParseSigningFile reads a file. What is in it is not verified by that. Errors are *NotASigningFile.
func ParseSigningFile(data []byte) (*SigningFile, error) {
	if len(data) > MaxSigningFile {
		return nil, &NotASigningFile{Reason: fmt.Sprintf("it is larger than %d bytes", MaxSigningFile)}
	}
	if names := bytes.Count(data, []byte{'"'}) / 2; names > 2*maxSigningNames+20 { // an object's name, and its bytes
		return nil, &NotASigningFile{Reason: fmt.Sprintf("it names more than %d objects", maxSigningNames)}
	}
	f := &SigningFile{}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, &NotASigningFile{Reason: err.Error()}
	}
	if f.Schema != signingSchema && f.Schema != ceremonySchema {
		return nil, &NotASigningFile{Reason: fmt.Sprintf("its schema is %q, and this Kitchen reads %s and %s", f.Schema, signingSchema, ceremonySchema)}
	}
	if f.Objects == nil || f.Sizes == nil {
		return nil, &NotASigningFile{Reason: "it carries nothing"}
	}
	for key, object := range f.Objects {
		kind, err := manifest.KindOf(key)
		if err != nil {
			return nil, &NotASigningFile{Reason: err.Error()}
		}
		if int64(len(object)) > kind.MaxSize {
			return nil, &NotASigningFile{Reason: fmt.Sprintf("%s has %d bytes, more than the %d that it may have", key, len(object), kind.MaxSize)}
		}
	}
	again, err := f.Encode()
	if err != nil {
		return nil, &NotASigningFile{Reason: err.Error()}
	}
	if !bytes.Equal(data, again) {
		return nil, &NotASigningFile{Reason: "it is not in the form that Kitchen writes"}
	}
	return f, nil
}

// Encode gives the file's bytes. *Invalid when they are more, or name more, than readers take.
func (f *SigningFile) Encode() ([]byte, error) {
	if n := len(f.Objects) + len(f.Sizes); n > maxSigningNames {
		return nil, &Invalid{What: "signing file", Reason: fmt.Sprintf("it would name %d objects, more than the %d that its readers take", n, maxSigningNames)}
	}
	b := append([]byte("{\n  \"catalog\": "), quoted(f.Catalog)...)
	b = appendObject(b, "objects", f.Objects, func(b, data []byte) []byte {
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), data), '"')
	})
	b = append(append(b, ",\n  \"role\": "...), quoted(f.Role)...)
	b = append(append(b, ",\n  \"schema\": "...), quoted(f.Schema)...)
	b = appendObject(b, "sizes", f.Sizes, func(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) })
	b = append(b, "\n}\n"...)
	if len(b) > MaxSigningFile {
		return nil, &Invalid{What: "signing file", Reason: fmt.Sprintf("it would take %d bytes, more than the %d that its readers take", len(b), MaxSigningFile)}
	}
	return b, nil
}

// appendObject adds a member that is an object. The json package would take seconds for the largest file.
func appendObject[V any](b []byte, name string, members map[string]V, value func([]byte, V) []byte) []byte {
	b = append(append(append(b, ",\n  "...), quoted(name)...), ": {"...)
	for i, key := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, "\n    "...), quoted(key)...), ": "...)
		b = value(b, members[key])
	}
	if len(members) > 0 {
		b = append(b, "\n  "...)
	}
	return append(b, '}')
}

// quoted is a JSON string.
func quoted(s string) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string always can be
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
}

// IsCeremony tells whether the file is about a catalog that is still to be made (see OpenCeremony).
func (f *SigningFile) IsCeremony() bool { return f.Schema == ceremonySchema }

// URL implements storage.Store. It is the same for all files: what a host remembers of a catalog has nothing to do
// with where its file came from.
func (f *SigningFile) URL() string { return "signing-file:" }

func (f *SigningFile) fail(op, key string, err error) error {
	return &storage.Error{Op: op, Key: key, Store: f.URL(), Err: err}
}

// Open implements storage.Reader.
func (f *SigningFile) Open(_ context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	f.mu.Lock()
	data, ok := f.Objects[key]
	f.mu.Unlock()
	if !ok {
		return nil, storage.Info{}, f.fail("open", key, storage.ErrNotFound)
	}
	size := int64(len(data))
	offset = min(max(offset, 0), size)
	if length < 0 || length > size-offset {
		length = size - offset
	}
	return io.NopCloser(bytes.NewReader(data[offset : offset+length])), storage.Info{Key: key, Size: size}, nil
}

// Stat implements storage.Reader. What the file names, and does not carry, is there; whether it is so in the catalog
// the committer looks.
func (f *SigningFile) Stat(_ context.Context, key string) (storage.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if data, ok := f.Objects[key]; ok {
		return storage.Info{Key: key, Size: int64(len(data))}, nil
	}
	if size, ok := f.Sizes[key]; ok {
		return storage.Info{Key: key, Size: size}, nil
	}
	return storage.Info{}, f.fail("stat", key, storage.ErrNotFound)
}

// OpenIfChanged implements storage.Reader. There are no entity tags.
func (f *SigningFile) OpenIfChanged(ctx context.Context, key, _ string) (io.ReadCloser, storage.Info, error) {
	return f.Open(ctx, key, 0, -1)
}

// Create implements storage.Writer.
func (f *SigningFile) Create(_ context.Context, key string, body io.ReaderAt, size int64, _, _ string) error {
	if size > MaxSigningFile {
		return f.fail("create", key, storage.ErrTooLarge)
	}
	data := make([]byte, size)
	if n, err := body.ReadAt(data, 0); int64(n) < size {
		return f.fail("create", key, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if there, ok := f.Objects[key]; ok {
		if bytes.Equal(there, data) {
			return nil
		}
		return f.fail("create", key, storage.ErrExists)
	}
	f.Objects[key] = data
	return nil
}

// Restore implements storage.Restorer.
func (f *SigningFile) Restore(_ context.Context, key string, _ io.ReaderAt, _ int64, _, _ string) error {
	return f.fail("restore", key, storage.ErrUnsupported)
}

// Swap implements storage.Swapper: nothing takes effect in a file.
func (f *SigningFile) Swap(_ context.Context, key, _ string, _ []byte, _, _ string) (string, error) {
	return "", f.fail("swap", key, storage.ErrUnsupported)
}

// Delete implements storage.Deleter.
func (f *SigningFile) Delete(_ context.Context, key string) error {
	return f.fail("delete", key, storage.ErrUnsupported)
}

// List implements storage.Lister.
func (f *SigningFile) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		f.mu.Lock()
		keys := slices.Sorted(maps.Keys(f.Objects))
		f.mu.Unlock()
		for _, key := range keys {
			if !strings.HasPrefix(key, prefix) || key <= after {
				continue
			}
			info, err := f.Stat(ctx, key)
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

// recorder is a store that fills a signing file with whatever is read through it: who reads the file instead with
// the same code finds all of it.
type recorder struct {
	storage.Store
	file *SigningFile
}

// Open keeps what is read whole: of artifacts nothing is.
func (r *recorder) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	body, info, err := r.Store.Open(ctx, key, offset, length)
	if err != nil || offset != 0 || length >= 0 {
		return body, info, err
	}
	return r.keep(key, body, info)
}

// OpenIfChanged always opens.
func (r *recorder) OpenIfChanged(ctx context.Context, key, _ string) (io.ReadCloser, storage.Info, error) {
	return r.Open(ctx, key, 0, -1)
}

func (r *recorder) keep(key string, body io.ReadCloser, info storage.Info) (io.ReadCloser, storage.Info, error) {
	kind, err := manifest.KindOf(key)
	if err != nil {
		return body, info, nil //nolint:nilerr // foreign: its reader says so
	}
	defer body.Close()
	data, err := storage.ReadBody(body, info, min(kind.MaxSize, MaxSigningFile))
	if err != nil {
		return nil, info, err
	}
	r.file.mu.Lock()
	defer r.file.mu.Unlock()
	r.file.Objects[key] = data
	return io.NopCloser(bytes.NewReader(data)), info, nil
}

// Stat keeps the sizes of what is only looked at.
func (r *recorder) Stat(ctx context.Context, key string) (storage.Info, error) {
	info, err := r.Store.Stat(ctx, key)
	if err == nil {
		r.file.mu.Lock()
		defer r.file.mu.Unlock()
		r.file.Sizes[key] = info.Size
	}
	return info, err
}

// fit parts the proposals that a file has room for, in their order, from those for which it has none. Each of those who began them has
// a turn, with the smallest that is left, and what nobody began comes last: who leaves many, or large ones, keeps out their own.
func (f *SigningFile) fit(offered []PendingProposal) (kept, left []PendingProposal) {
	type weight struct{ bytes, names int }
	of, all := map[string]weight{}, weight{names: len(f.Sizes)}
	for key, data := range f.Objects {
		n := len(key) + base64.StdEncoding.EncodedLen(len(data))
		if id, _, _, _, err := manifest.ParsePendingObject(key); err == nil {
			of[id] = weight{of[id].bytes + n, of[id].names + 1}
		} else {
			all = weight{all.bytes + n, all.names + 1}
		}
	}
	fits := map[string]bool{}
	for _, p := range inTurn(offered, func(p PendingProposal) int { return of[p.ID].bytes }) {
		sum := weight{all.bytes + of[p.ID].bytes, all.names + of[p.ID].names}
		if sum.bytes <= MaxSigningFile*3/4 && sum.names <= maxSigningNames*3/4 { // a quarter is for signatures
			all, fits[p.ID] = sum, true
		}
	}
	for _, p := range offered {
		if fits[p.ID] {
			kept = append(kept, p)
		} else {
			left = append(left, p)
		}
	}
	return kept, left
}

// inTurn orders proposals: the smallest of each who began any, then the next of each, and so on, and what nobody began.
func inTurn(offered []PendingProposal, size func(PendingProposal) int) []PendingProposal {
	sorted := slices.SortedStableFunc(slices.Values(offered), func(a, b PendingProposal) int { return size(a) - size(b) })
	place, had := map[string]int{}, map[string]int{}
	for _, p := range sorted {
		place[p.ID] = len(sorted)
		for _, owner := range p.owners { // its best turn: who signs another's does not put it off
			place[p.ID] = min(place[p.ID], had[owner])
			had[owner]++
		}
	}
	slices.SortStableFunc(sorted, func(a, b PendingProposal) int { return place[a.ID] - place[b.ID] })
	return sorted
}

// maxLeftOut is how many proposals that a file does not hold are named: as many as one key may have, and those of others first.
const maxLeftOut = 2 * maxOfOneKey

// leftOut says which proposals a file does not hold.
func leftOut(left []PendingProposal) string {
	var ids []string
	for _, p := range inTurn(left, func(PendingProposal) int { return 0 })[:min(len(left), maxLeftOut)] {
		ids = append(ids, p.ID)
	}
	return fmt.Sprintf("not in the file, which has no room for %s besides: %s%s; by its id each has a file of its own: kitchen sign ID --export FILE",
		count(len(left), "proposal"), strings.Join(ids, ", "), ifSo(len(left) > len(ids), " and more"))
}
