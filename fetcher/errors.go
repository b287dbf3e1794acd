package fetcher

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
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

// Occupied says that the target of a fetch exists and holds something else, or cannot be replaced (exit 1).
type Occupied struct {
	Dir     string
	Release manifest.Release
	Reason  string
	Within  bool // a directory below it would do
}

func (e *Occupied) Error() string {
	return fmt.Sprintf("%s exists and is not %s (%s); nothing was changed", e.Dir, e.Release, e.Reason)
}

// Hint names the way out.
func (e *Occupied) Hint() string {
	const hint = "name a directory that does not exist yet with --into"
	if e.Within {
		return hint + ", such as " + filepath.Join(e.Dir, e.Release.Product+"-"+e.Release.Version)
	}
	return hint
}

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
	r, asksPath := e.Verdict.Release, func(u catalog.Unmet) bool { return u.Requirement == reqPath }
	asksOrder := func(u catalog.Unmet) bool { return u.Requirement == reqOrder }
	switch from := e.Verdict.From; {
	case from != "":
		return fmt.Sprintf("kitchen ready %s --from %s shows each requirement, kitchen paths %s --from %s the ways on", r, from, r.Product, from)
	case slices.ContainsFunc(e.Verdict.Unmet, asksOrder):
		return fmt.Sprintf("if the host was made anew, and that release is meant: kitchen deploy %s --fresh --allow-downgrade", r)
	case slices.ContainsFunc(e.Verdict.Unmet, asksPath):
		return fmt.Sprintf("an initial release comes first (kitchen show %[1]s tells what it may be applied to); if something of %[2]s is deployed here already, say so: kitchen deployed %[2]s@VERSION --result PASSED", r, r.Product)
	}
	return fmt.Sprintf("kitchen ready %s shows each requirement", r)
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

// Attempted says that the deploy hook of a release ran before and did not pass, or that other versions were deployed
// since, and it is not run again unless told so (exit 3).
type Attempted struct {
	Site    manifest.SiteID
	Release manifest.Release
	Verdict string
	When    string
	Since   string // the version that is deployed now; "" unless Release passed
}

func (e *Attempted) Error() string {
	if e.Since != "" {
		return fmt.Sprintf("%s was deployed at %s (%s on %s), and %s replaced it since", e.Release, e.Site, e.Verdict, e.When, e.Since)
	}
	return fmt.Sprintf("the deployment of %s at %s ended %s on %s and is not repeated by itself", e.Release, e.Site, e.Verdict, e.When)
}

// Hint names the ways on.
func (e *Attempted) Hint() string {
	if e.Since != "" {
		return fmt.Sprintf("kitchen paths %s --from %s shows the ways on; if the host was put back to %[3]s by hand: kitchen deployed %[3]s --result PASSED", e.Release.Product, e.Since, e.Release)
	}
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
	Have string   // id of the configured key
	Want []string // ids of the site's keys that are valid now
}

func (e *WrongSiteKey) Error() string {
	if len(e.Want) == 0 {
		return fmt.Sprintf("the key of site %s is not in the registry, which has none that is valid now", e.Site)
	}
	return fmt.Sprintf("the key of site %s is not the one in the registry", e.Site)
}

// Evidence is what has to be compared whole: somebody can make a key whose id begins like another's.
func (e *WrongSiteKey) Evidence() []string {
	lines := []string{"configured " + e.Have}
	for _, id := range e.Want {
		lines = append(lines, "registered "+id)
	}
	return lines
}

// Hint names the innocent cause.
func (e *WrongSiteKey) Hint() string {
	return "check [site] key in kitchen.toml; after a key change, refresh first or ask a vendor administrator to register the new key"
}

// MissingHook says that the configuration names no command for a hook, or one whose program cannot be started (exit 1).
type MissingHook struct {
	Name, Config string
	Program      string // "" = none is named
	Err          error  // what is wrong with Program
}

func (e *MissingHook) Error() string {
	if e.Program == "" {
		return fmt.Sprintf("no [hooks] %s in %s", e.Name, e.Config)
	}
	return fmt.Sprintf("[hooks] %s in %s names the program %q, which cannot be started: %v", e.Name, e.Config, e.Program, e.Err)
}

// Unwrap gives what is wrong with the program.
func (e *MissingHook) Unwrap() error { return e.Err }

// Hint shows the missing lines, or says what makes a program of the file.
func (e *MissingHook) Hint() string {
	switch {
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("nothing was started; if it is the right file: chmod +x %s, in the folder of kitchen.toml", e.Program)
	case e.Program != "" && !strings.Contains(e.Program, "/"):
		return fmt.Sprintf("nothing was started; a program that is not in PATH is named with its folder, which may be relative to kitchen.toml: ./%s", e.Program)
	case e.Program != "":
		return "nothing was started; a relative path is relative to the folder of kitchen.toml"
	}
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

// StillRunning says that a hook outlived the kitchen that started it, which was killed (exit 1).
type StillRunning struct {
	Site    manifest.SiteID
	Release manifest.Release
	Hook    string
	Group   int // its process group; 0 = not known
}

func (e *StillRunning) Error() string {
	where := "its process group is not known"
	if e.Group != 0 {
		where = fmt.Sprintf("process group %d", e.Group)
	}
	return fmt.Sprintf("the %s hook on %s still runs at %s (%s), although the kitchen that started it was killed; nothing is started beside it", e.Hook, e.Release, e.Site, where)
}

// Hint names both ways on.
func (e *StillRunning) Hint() string {
	if e.Group == 0 {
		return "wait until it has ended, or end it; then run the same command again"
	}
	return fmt.Sprintf("wait until it has ended (pgrep -ag %[1]d shows it), or end it: kill -- -%[1]d; then run the same command again", e.Group)
}

// UnusableKey says that the site's key does not open (exit 4): nothing that has to be reported is started then.
type UnusableKey struct {
	Site manifest.SiteID
	Err  error
}

func (e *UnusableKey) Error() string {
	return fmt.Sprintf("the key of site %s cannot be used, so nothing was started: %v", e.Site, e.Err)
}

// Unwrap gives what is wrong with it.
func (e *UnusableKey) Unwrap() error { return e.Err }

// Hint is that of the cause, where it has one.
func (e *UnusableKey) Hint() string {
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) {
		return h.Hint()
	}
	return "check [site] key in kitchen.toml, and --password-file or COSIGN_PASSWORD"
}

// HalfDeployed says that a deployment was stopped while its hook ran. It wraps what stopped it.
type HalfDeployed struct {
	Release manifest.Release
	Err     error
}

func (e *HalfDeployed) Error() string {
	return fmt.Sprintf("the deploy hook on %s was stopped half-way: %v", e.Release, e.Err)
}

// Unwrap gives what stopped it.
func (e *HalfDeployed) Unwrap() error { return e.Err }

// Hint says what a person has to find out.
func (e *HalfDeployed) Hint() string {
	return fmt.Sprintf("look at the host; then kitchen deploy %[1]s --again runs the hook again, or kitchen deployed %[1]s --result PASSED (or FAILED) records how it ended", e.Release)
}

// Unsent says that reports wait on disk because the store did not take them. It
// wraps the store's error, whose exit code it has.
type Unsent struct {
	Keys []string // object names under which they will be sent
	Err  error
}

func (e *Unsent) Error() string {
	return fmt.Sprintf("%s on disk, to be sent by the next run: %v", countWords(len(e.Keys), "signed report"), e.Err)
}

// Hint is that of the store, and says that nothing is to be done once more.
func (e *Unsent) Hint() string {
	const safe = "the result is safe and nothing has to run again: any later `kitchen run` sends it (without --again)"
	var h interface{ Hint() string }
	if !errors.As(e.Err, &h) || h.Hint() == "" {
		return safe
	}
	return strings.Replace(h.Hint(), "run the same command again", "`kitchen run`", 1) + "; " + safe
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

// UsedUp says that a site's report on a release has the last number that there is, so that no other can follow it (exit 1).
type UsedUp struct {
	Site    manifest.SiteID
	Release manifest.Release
	Key     string // of that report
}

func (e *UsedUp) Error() string {
	return fmt.Sprintf("%s, a report of %s on %s, has the last number that a report can have: none can follow it", e.Key, e.Site, e.Release)
}

// Hint names who must have made it, and the way out.
func (e *UsedUp) Hint() string {
	return "no kitchen counts so far: somebody else signed with the site's key. A vendor administrator gives it another one: kitchen site rotate-key " + e.Site.String() + " --pub FILE --compromised-since TIME; then that report counts no more"
}
