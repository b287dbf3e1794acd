package fetcher

import (
	"fmt"
	"strings"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// NotVisible says that a release is not for this follower (exit 3).
type NotVisible struct {
	Release manifest.Release
	Reason  string // in words: "not validated yet", "recalled: …"
	Next    string // what to do about it; "" = look for another release
}

func (e *NotVisible) Error() string {
	return fmt.Sprintf("%s is not available: %s", e.Release, e.Reason)
}

// Hint names the command that shows what is available.
func (e *NotVisible) Hint() string {
	if e.Next != "" {
		return e.Next
	}
	return "kitchen list shows what this catalog holds and at which stage"
}

// Mismatch says that bytes from the store are not the bytes that were signed (exit 4).
type Mismatch struct {
	Release manifest.Release
	Path    string // the artifact, or the file of a tree
	What    string // "stored size", "stored sha256", "size", "sha256", "encoding", "tree"
	Want    string
	Got     string
}

// nothing is what a Mismatch got where the store has no such object.
const nothing = "nothing"

// Unwrap tells what is missing from what is wrong.
func (e *Mismatch) Unwrap() error {
	if e.Got == nothing {
		return storage.ErrNotFound
	}
	return nil
}

func (e *Mismatch) Error() string {
	if e.Got == nothing {
		return fmt.Sprintf("%s of %s is not in the store: there is no %s", e.Path, e.Release, e.Want)
	}
	return fmt.Sprintf("%s of %s is not what was signed: %s should be %s, got %s", e.Path, e.Release, e.What, e.Want, e.Got)
}

// Hint names innocent causes first.
func (e *Mismatch) Hint() string {
	if e.Got == nothing {
		return "an incomplete copy of the catalog looks like this, or somebody removed it: tell the vendor which object is missing, or use another copy"
	}
	return "an interrupted copy of the catalog, a cache or a proxy in between may cause this; try again, then tell the vendor which object it is"
}

// FilesDiffer says how a directory differs from the release it should hold (exit 4).
type FilesDiffer struct {
	Release manifest.Release
	Dir     string
	// Differences are the first few, one line each; More counts the others.
	Differences []string
	More        int
}

func (e *FilesDiffer) Error() string {
	s := fmt.Sprintf("%s does not hold %s exactly: %s", e.Dir, e.Release, strings.Join(e.Differences, "; "))
	if e.More > 0 {
		s += fmt.Sprintf("; and %d more", e.More)
	}
	return s
}

// Hint names the next command.
func (e *FilesDiffer) Hint() string {
	return fmt.Sprintf("a local edit or a damaged disk causes this too; fetch a clean copy: kitchen fetch %s --into DIR", e.Release)
}

// Occupied says that the target of a fetch exists and holds something else (exit 1).
type Occupied struct {
	Dir     string
	Release manifest.Release
	Reason  string
}

func (e *Occupied) Error() string {
	return fmt.Sprintf("%s exists and is not %s (%s); nothing was changed", e.Dir, e.Release, e.Reason)
}

// Hint names the way out.
func (e *Occupied) Hint() string { return "name a directory that does not exist yet with --into" }

// NotReady carries the verdict on a release that may not be deployed (exit 3).
type NotReady struct {
	Verdict *Verdict
	Earlier *RunEntry // its deployment here, where it is deployed all the same; nil where it is not
}

func (e *NotReady) Error() string {
	if e.Earlier != nil {
		return fmt.Sprintf("%s is deployed here already (%s on %s), and is not ready to deploy any more: %s",
			e.Verdict.Release, e.Earlier.Verdict, whenWords(e.Earlier.Finished), unmetWords(e.Verdict.Unmet))
	}
	return fmt.Sprintf("%s is not ready to deploy: %s", e.Verdict.Release, unmetWords(e.Verdict.Unmet))
}

// Hint names the command that shows all of it.
func (e *NotReady) Hint() string {
	if e.Earlier != nil {
		return fmt.Sprintf("deploy a release that replaces it, or take it out of service; kitchen show %s tells more", e.Verdict.Release)
	}
	return fmt.Sprintf("kitchen ready %s shows each requirement", e.Verdict.Release)
}

// Undetermined says that this host cannot know by itself whether a deployment is
// still to be done, and therefore does not do it (exit 3).
type Undetermined struct {
	Site    manifest.SiteID
	Release manifest.Release
	Reason  string
	// Interrupted is true when the deploy hook of Release was started and its end
	// is unknown; false when what is deployed is not known at all.
	Interrupted bool
}

func (e *Undetermined) Error() string {
	return fmt.Sprintf("%s will not deploy %s by itself: %s", e.Site, e.Release, e.Reason)
}

// Hint says how a person tells it.
func (e *Undetermined) Hint() string {
	if e.Interrupted {
		return fmt.Sprintf("look at the host, then say how it ended: kitchen deployed %[1]s --result PASSED (or FAILED), or run the hook again: kitchen deploy %[1]s --again", e.Release)
	}
	return fmt.Sprintf("tell it what is deployed: kitchen deployed P@V --result PASSED, or that nothing is: kitchen deploy %s --fresh", e.Release)
}

// Attempted says that the deploy hook of a release ran before and did not pass, and
// is not run again unless told so (exit 3).
type Attempted struct {
	Site    manifest.SiteID
	Release manifest.Release
	Verdict string
	When    string
}

func (e *Attempted) Error() string {
	return fmt.Sprintf("the deployment of %s at %s ended %s on %s and is not repeated by itself", e.Release, e.Site, e.Verdict, e.When)
}

// Hint names both ways on.
func (e *Attempted) Hint() string {
	return fmt.Sprintf("kitchen deploy %[1]s --again runs the hook again; kitchen deployed %[1]s --result PASSED records that it was put right by hand", e.Release)
}

// UnknownSite says that the registry does not know this site, or not any more (exit 1).
type UnknownSite struct {
	Site    manifest.SiteID
	Retired bool // it does not come back
	Reason  string
}

func (e *UnknownSite) Error() string { return fmt.Sprintf("site %s %s", e.Site, e.Reason) }

// Hint says who can change that.
func (e *UnknownSite) Hint() string {
	if e.Retired {
		return "a site that begins anew gets another name, and a key of its own: ask a vendor administrator to run kitchen site add"
	}
	return fmt.Sprintf("ask a vendor administrator to run: kitchen site add %s --kind … --pub …", e.Site)
}

// WrongSiteKey says that the configured key is not one that the registry names for
// the site at this time (exit 4).
type WrongSiteKey struct {
	Site manifest.SiteID
	Have string   // short id of the configured key
	Want []string // short ids of the site's keys that are valid now
}

func (e *WrongSiteKey) Error() string {
	want := "none that is valid now"
	if len(e.Want) > 0 {
		want = strings.Join(e.Want, ", ")
	}
	return fmt.Sprintf("the key of site %s is not the one in the registry: configured %s, registered %s", e.Site, e.Have, want)
}

// Hint names the innocent cause.
func (e *WrongSiteKey) Hint() string {
	return "check [site] key in kitchen.toml; after a key change, refresh first or ask a vendor administrator to register the new key"
}

// MissingHook says that the configuration names no command for a hook (exit 1).
type MissingHook struct{ Name, Config string }

func (e *MissingHook) Error() string { return fmt.Sprintf("no [hooks] %s in %s", e.Name, e.Config) }

// Hint shows the missing lines.
func (e *MissingHook) Hint() string {
	return fmt.Sprintf("add to it:  [hooks]  %s = [\"./%s.sh\"]", e.Name, e.Name)
}

// WrongKind says that a site's kind does not do what was asked (exit 1).
type WrongKind struct {
	Site       manifest.SiteID
	Kind, Want string
}

func (e *WrongKind) Error() string {
	return fmt.Sprintf("%s is a %s site in the registry; this needs a %s site", e.Site, e.Kind, e.Want)
}

// Busy says that another run of the same site is under way (exit 1).
type Busy struct{ Site manifest.SiteID }

func (e *Busy) Error() string {
	return fmt.Sprintf("another run of %s is under way with this state directory", e.Site)
}

// Hint says to wait.
func (e *Busy) Hint() string { return "wait for it to end; the lock goes with its process" }

// Unsent says that reports wait on disk because the store did not take them. It
// wraps the store's error, whose exit code it has.
type Unsent struct {
	Keys []string // object names under which they will be sent
	Err  error
}

func (e *Unsent) Error() string {
	return fmt.Sprintf("%s on disk, to be sent by the next run: %v", countWords(len(e.Keys), "signed report"), e.Err)
}

// Unwrap gives the store's error.
func (e *Unsent) Unwrap() error { return e.Err }

// about puts the name of what an error is about before it, where it does not say so itself.
func about(name string, err error) error {
	if strings.Contains(err.Error(), name) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}
