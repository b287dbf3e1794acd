// Package fetcher is the receiving side of a catalog: what a customer's CI, the
// vendor's CI and a production host do with what others have signed.
//
// # Parties and terms
//
// A follower reads a catalog. A site is a follower that the registry knows by a
// key: a CI site tests, a production site deploys. A release is visible to a
// follower when its product role and its validated role list it with the same
// length and digest (the product role alone where the configuration says
// Follow = "published"), it is not recalled, and the site subscribes to it.
//
// # Promises
//
//   - Fetch leaves the complete directory or nothing under the final name. Every
//     byte is held to its digest before the name appears: a small artifact's as it is
//     stored and as a host gets it, a large one's chunk by chunk, to the index that the
//     manifest signs; a tree's files besides to their own. That is the only way into a
//     release's directory, for Fetch, Run and Deploy, and wherever bytes come from: the
//     store, an interrupted attempt, earlier releases on this host and other seeds are
//     not believed. A test run holds large artifacts to their raw digests, too, so that
//     an index that leads elsewhere passes no CI. Nothing is ever whole in memory.
//   - What was interrupted goes on from what is kept, unless the disk is full or
//     something is not what was signed: then nothing is left. Only a directory that is
//     this user's alone is gone on with.
//   - Ready is the gate: it answers from signed, unexpired roles only, by value,
//     and names each requirement that is not met. It answers the same offline.
//   - Run starts a test hook once for each release a CI site follows, and a deploy
//     hook at most once for each release at a production site. What a hook did is
//     on disk before its report is signed, and a signed report is on disk before
//     it is sent, so that a crash neither loses a report nor sends two.
//
// # State
//
// Everything lies below site/ in the catalog's state directory:
//
//	site/_held/<p>@<v>                      digest of a manifest once fetched here, and the directory
//	site/_follower/seen.json                what refresh has shown already, without a site
//	site/<customer>/<site>/seen.json        the same, for a site
//	site/<customer>/<site>/lock             one run at a time
//	site/<customer>/<site>/reports/<p>@<v>  sequence and digest of the last report
//	site/<customer>/<site>/deploy/<p>       what is deployed, and the last attempt
//	site/<customer>/<site>/spool/<entry>/   results that are not sent yet
//	site/<customer>/<site>/work/            private folders of running hooks
//	site/<customer>/<site>/incoming/        staging of a run or deployment, which the next one goes on with
//	site/<customer>/<site>/seeds/<p>/       files of the last run or deployment, to fetch the next release from
//
// No function reads the clock, the environment or the terminal: Fetcher carries them.
package fetcher

import (
	"io"
	"path/filepath"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// FollowPublished is the value of Site.Follow of a site that sees releases before
// they are validated: the vendor's own CI.
const FollowPublished = "published"

// Fetcher is one follower of one catalog. It is not changed after it is made, and
// its methods may be called one after the other.
type Fetcher struct {
	Catalog  *catalog.Catalog
	Store    storage.Store // nil: offline, nothing is fetched or sent
	State    string        // the catalog's state directory
	Site     *Site         // nil: a follower without a site
	Gate     Gate
	Transfer Transfer
	Content  ReportContent
	Now      func() time.Time
	// Progress gets transfers and single lines; nil is silent.
	Progress progress.Sink
	// Stdout and Stderr get what hooks print, all of it on Stderr; nil discards.
	Stdout, Stderr io.Writer
	// Env is the environment ("NAME=value") that hooks start from. Variables that
	// kitchen itself would read, and passwords of keys, are taken out.
	Env []string
}

// Site is the identity and configuration of a CI or production platform.
type Site struct {
	ID     manifest.SiteID
	Signer keys.Signer // signs its reports
	// OpenKey opens the key of Signer, as often as it is asked; nil where it is open.
	OpenKey func() error
	Follow  string              // "" (validated) or FollowPublished
	Auto    bool                // production: Run deploys by itself
	Hooks   map[string][]string // HookTest, … → command and arguments
	Dir     string              // kitchen.toml's folder, where hooks start
	Config  string              // kitchen.toml's path, for messages; "" = Dir/kitchen.toml
	// HookTimeout ends a setup, test or deploy hook that runs longer; 0 means no limit.
	// on-error and teardown have five minutes. HookTimeouts are limits of single hooks.
	HookTimeout  time.Duration
	HookTimeouts map[string]time.Duration
	// HookGrace is the time between SIGTERM and SIGKILL; 0 means 10 seconds.
	HookGrace time.Duration
	// Capabilities are what [requires] of a release is held to before a test.
	Capabilities Capabilities
}

func (s *Site) config() string {
	if s.Config != "" {
		return s.Config
	}
	return filepath.Join(s.Dir, "kitchen.toml")
}

// OpenKey makes sure that the site can sign, before it does what it has to report: *UnusableKey.
func (f *Fetcher) OpenKey() error {
	if f.Site == nil || f.Site.OpenKey == nil {
		return nil
	}
	if err := f.Site.OpenKey(); err != nil {
		return &UnusableKey{Site: f.Site.ID, Err: err}
	}
	return nil
}

// follows says whether releases are visible to f before they are validated.
func (f *Fetcher) followsPublished() bool { return f.Site != nil && f.Site.Follow == FollowPublished }

func (f *Fetcher) sink() progress.Sink {
	if f.Progress == nil {
		return progress.Silent{}
	}
	return f.Progress
}

func (f *Fetcher) stderr() io.Writer {
	if f.Stderr == nil {
		return io.Discard
	}
	return f.Stderr
}
