package catalogtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// Start is the time at which every World begins.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Day is 24 hours.
const Day = 24 * time.Hour

// Lifetimes of what a World signs, as DESIGN §4 has them.
const (
	TimestampLife = 7 * Day
	SnapshotLife  = 30 * Day
	ShortLife     = 90 * Day  // ready-to-deploy and recalled
	LongLife      = 365 * Day // all others
)

// Key is a private key in memory.
type Key struct {
	keys.Signer
	TUF trust.Key
}

// NewKey makes a P-256 key.
func NewKey(t testing.TB) *Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	signer, err := keys.NewSigner(private)
	check(t, err)
	tuf, err := trust.NewKey(signer.Public())
	check(t, err)
	return &Key{signer, tuf}
}

// Authority is a threshold of keys.
func Authority(threshold int, ks ...*Key) trust.Authority {
	a := trust.Authority{Threshold: threshold}
	for _, k := range ks {
		a.Keys = append(a.Keys, k.TUF)
	}
	return a
}

// World is a catalog and everybody's keys. It is not safe for concurrent use.
type World struct {
	T     testing.TB
	Store storage.Store
	Now   time.Time // of everything that is written, and the clock of Open

	RootKeys  []*Key // 3, threshold 2; they sign targets, too, with threshold 2
	Online    *Key
	CoSigners []*Key            // sign snapshot and timestamp besides Online: while its key is rotated
	Admin     *Key              // registry
	RoleKeys  map[string][]*Key // by delegated role: those who sign it here
	SiteKeys  map[manifest.SiteID]*Key

	Root     *trust.Root
	RootFile []byte // of the newest root
	Root1    []byte // of the first one, to be pinned
	Targets  *trust.Targets
	Roles    map[string]*trust.Targets     // delegated ones, as they will be committed next
	Registry map[string]*manifest.Customer // as they will be committed next

	SnapshotNo, TimestampNo int64
	Files                   map[string][]byte // role → file in the current snapshot, "targets" included
	Snapshot                *trust.Snapshot   // as committed last
	SnapshotFile            []byte
	TimestampFile           []byte

	changed map[string]bool
	reports map[reportChain]reportEnd
}

// New makes a catalog of the vendor "enovance", with its site enovance/ci, in a directory.
func New(t testing.TB) *World {
	t.Helper()
	store, err := storage.Open(context.Background(), "file://"+filepath.ToSlash(t.TempDir()), storage.Options{})
	check(t, err)
	return NewIn(t, store)
}

// NewIn is New in any empty store.
func NewIn(t testing.TB, store storage.Store) *World {
	t.Helper()
	w := &World{T: t, Store: store, Now: Start, Online: NewKey(t), Admin: NewKey(t),
		RoleKeys: map[string][]*Key{}, SiteKeys: map[manifest.SiteID]*Key{},
		Roles: map[string]*trust.Targets{}, Registry: map[string]*manifest.Customer{},
		Files: map[string][]byte{}, Snapshot: &trust.Snapshot{Roles: map[string]trust.Meta{}},
		changed: map[string]bool{}, reports: map[reportChain]reportEnd{}}
	for range 3 {
		w.RootKeys = append(w.RootKeys, NewKey(t))
	}
	w.Root = &trust.Root{Roles: map[string]trust.Authority{
		trust.RoleRoot: Authority(2, w.RootKeys...), trust.RoleTargets: Authority(2, w.RootKeys...),
		trust.RoleSnapshot: Authority(1, w.Online), trust.RoleTimestamp: Authority(1, w.Online)}}
	w.NewRoot(w.RootKeys[:2]...)
	w.Root1 = w.RootFile
	w.Targets = &trust.Targets{}
	w.changed[trust.RoleTargets] = true
	w.Delegate(manifest.RoleRegistry, 1, w.Admin)
	w.Registry["enovance"] = &manifest.Customer{Customer: "enovance", Name: "eNovance", Vendor: true, Subscribe: []string{"*"}}
	w.AddSite("enovance/ci", manifest.SiteCI)
	return w
}

// NewRoot writes the next version of Root, signed by the given keys.
func (w *World) NewRoot(signers ...*Key) {
	w.T.Helper()
	w.Root.Version++
	w.Root.Expires = w.Now.Add(LongLife)
	w.RootFile = w.Seal(w.Root, signers...)
	w.Put(manifest.RootObject(w.Root.Version), w.RootFile)
}

// RotateOnline replaces the online key: a new root, then a snapshot and timestamp signed by the new key. The
// versions go on; a test may set SnapshotNo and TimestampNo back between the two.
func (w *World) RotateOnline() {
	w.T.Helper()
	w.SetOnline(NewKey(w.T))
}

// SetOnline writes the root that makes key the online key, and nothing else: a snapshot and timestamp that it signed
// before as one of the CoSigners go on.
func (w *World) SetOnline(key *Key) {
	w.T.Helper()
	w.Online = key
	w.Root = w.Root.Clone()
	w.Root.Roles[trust.RoleSnapshot], w.Root.Roles[trust.RoleTimestamp] = Authority(1, key), Authority(1, key)
	w.NewRoot(w.RootKeys[:2]...)
}

// online are all who sign snapshot and timestamp.
func (w *World) online() []*Key { return append([]*Key{w.Online}, w.CoSigners...) }

// Delegate adds a delegated role, or gives it other keys. The role itself stays absent until Edit writes it.
func (w *World) Delegate(role string, threshold int, ks ...*Key) {
	w.RoleKeys[role] = ks
	d := trust.Delegation{Name: role, Authority: Authority(threshold, ks...), Paths: manifest.RolePaths(role)}
	w.Targets = w.Targets.Clone()
	w.Targets.Delegations = append(slices.DeleteFunc(w.Targets.Delegations, func(d trust.Delegation) bool { return d.Name == role }), d)
	w.changed[trust.RoleTargets] = true
}

// Edit changes a delegated role, for the next Commit. nil only signs it anew.
func (w *World) Edit(role string, change func(*trust.Targets)) {
	t := &trust.Targets{Targets: map[string]trust.Target{}}
	if old := w.Roles[role]; old != nil {
		t = old.Clone()
	}
	if change != nil {
		change(t)
	}
	w.Roles[role], w.changed[role] = t, true
}

// Commit signs every changed role with its RoleKeys, then snapshot and timestamp.
func (w *World) Commit() {
	w.T.Helper()
	if w.changed[trust.RoleTargets] {
		w.commitRole(trust.RoleTargets, w.Targets, LongLife, w.RootKeys[:2])
	}
	for _, role := range slices.Sorted(maps.Keys(w.changed)) {
		if role != trust.RoleTargets {
			w.commitRole(role, w.Roles[role], lifeOf(role), w.RoleKeys[role])
		}
	}
	clear(w.changed)
	w.CommitOnline()
}

func lifeOf(role string) time.Duration {
	switch kind, _, _ := manifest.SplitRole(role); kind {
	case manifest.StageReady, manifest.StageRecalled:
		return ShortLife
	}
	return LongLife
}

func (w *World) commitRole(role string, t *trust.Targets, life time.Duration, signers []*Key) {
	w.T.Helper()
	t.Version++
	t.Role, t.Expires = role, w.Now.Add(life)
	if old, ok := w.Files[role]; ok {
		t.Replaces = Digest(old)
	}
	w.PutRole(role, t.Version, w.Seal(t, signers...))
}

// PutRole stores any bytes as a version of a role, and lists them in the next snapshot.
func (w *World) PutRole(role string, version int64, file []byte) {
	w.T.Helper()
	w.Put(manifest.RoleObject(role, version), file)
	w.Files[role] = file
	w.Snapshot = w.Snapshot.Clone()
	w.Snapshot.Roles[role] = trust.MetaOf(version, file)
}

// CommitOnline signs the next snapshot and timestamp over the roles as they are.
func (w *World) CommitOnline() {
	w.T.Helper()
	w.SnapshotNo++
	w.Snapshot.Version, w.Snapshot.Expires = w.SnapshotNo, w.Now.Add(SnapshotLife)
	w.SnapshotFile = w.Seal(w.Snapshot, w.online()...)
	w.Put(manifest.SnapshotObject(w.SnapshotNo), w.SnapshotFile)
	w.CommitTimestamp()
}

// CommitTimestamp signs the next timestamp over the snapshot as it is.
func (w *World) CommitTimestamp() {
	w.T.Helper()
	w.TimestampNo++
	w.SwapTimestamp(w.Seal(&trust.Timestamp{Version: w.TimestampNo, Issued: w.Now, Expires: w.Now.Add(TimestampLife),
		Snapshot: trust.MetaOf(w.SnapshotNo, w.SnapshotFile)}, w.online()...))
}

// SwapTimestamp makes any bytes the timestamp.
func (w *World) SwapTimestamp(file []byte) {
	w.T.Helper()
	etag := ""
	if info, err := w.Store.Stat(context.Background(), manifest.TimestampObject); err == nil {
		etag = info.ETag
	}
	kind, err := manifest.KindOf(manifest.TimestampObject)
	check(w.T, err)
	_, err = w.Store.Swap(context.Background(), manifest.TimestampObject, etag, file, kind.ContentType, kind.CacheControl)
	check(w.T, err)
	w.TimestampFile = file
}

// Document is anything of trust that can be signed.
type Document interface{ Payload() ([]byte, error) }

// Seal signs a document.
func (w *World) Seal(doc Document, signers ...*Key) []byte {
	w.T.Helper()
	payload, err := doc.Payload()
	check(w.T, err)
	var sigs []trust.Signature
	for _, k := range signers {
		sig, err := trust.Sign(context.Background(), payload, k)
		check(w.T, err)
		sigs = append(sigs, sig)
	}
	file, err := trust.Envelope(payload, sigs)
	check(w.T, err)
	return file
}

// Put creates an immutable object.
func (w *World) Put(key string, data []byte) {
	w.T.Helper()
	kind, err := manifest.KindOf(key)
	check(w.T, err)
	check(w.T, w.Store.Create(context.Background(), key, bytes.NewReader(data), int64(len(data)), kind.ContentType, kind.CacheControl))
}

// Open opens the catalog with a state directory, the first root pinned, and the World's clock.
func (w *World) Open(dir string) *catalog.Catalog {
	w.T.Helper()
	c, err := catalog.Open(context.Background(), w.Options(dir))
	check(w.T, err)
	return c
}

// Options are those of Open, to be varied.
func (w *World) Options(dir string) catalog.Options {
	return catalog.Options{Store: w.Store, Dir: dir, Root: w.Root1, Now: func() time.Time { return w.Now }}
}

// View refreshes a new state directory.
func (w *World) View() *catalog.View {
	w.T.Helper()
	v, err := w.Open(w.T.TempDir()).Refresh(context.Background())
	check(w.T, err)
	return v
}

// Digest is the sha256 of data, in hex.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
