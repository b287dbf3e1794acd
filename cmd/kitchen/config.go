package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// config is kitchen.toml: what a site, a laptop or a vendor's machine always
// says to kitchen. Unknown keys are errors, relative paths are relative to the
// file's directory.
type config struct {
	Catalog         string              `toml:"catalog"` // a store's URL, or a directory
	Root            string              `toml:"root"`    // file with the pinned root
	RootFingerprint string              `toml:"root_fingerprint"`
	RootVersion     int64               `toml:"root_version"`
	State           string              `toml:"state"`
	Site            siteConfig          `toml:"site"`
	Hooks           hooksConfig         `toml:"hooks"`
	Run             runConfig           `toml:"run"`
	Report          reportConfig        `toml:"report"`
	Keys            map[string][]string `toml:"keys"` // role, or "online", → key files or URIs
	Gate            gateConfig          `toml:"gate"`
	Transfer        transferConfig      `toml:"transfer"`
	Capabilities    capabilitiesConfig  `toml:"capabilities"`

	path string // "" when there is no file
	dir  string // absolute; the working directory when there is no file
}

type siteConfig struct {
	ID     siteID `toml:"id"`
	Key    string `toml:"key"`
	Follow follow `toml:"follow"`
	Auto   bool   `toml:"auto"`
}

// capabilitiesConfig is what a site has to test with; what is left out is detected, labels excepted.
type capabilitiesConfig struct {
	Arch      []string `toml:"arch"`
	CPUs      int      `toml:"cpus"`
	MemoryGiB int      `toml:"memory_gib"`
	DiskGiB   int      `toml:"disk_gib"` // free
	Labels    []string `toml:"labels"`
}

// hooksConfig holds each hook's program and arguments, and how long they may take.
type hooksConfig struct {
	Setup    []string     `toml:"setup"`
	Test     []string     `toml:"test"`
	Deploy   []string     `toml:"deploy"`
	OnError  []string     `toml:"on-error"`
	Teardown []string     `toml:"teardown"`
	Timeout  age          `toml:"timeout"`  // of setup, test and deploy
	Grace    age          `toml:"grace"`    // from SIGTERM to SIGKILL
	Timeouts hookTimeouts `toml:"timeouts"` // of single hooks
}

// hookTimeouts has a field for each hook, so that a wrong name has its line.
type hookTimeouts struct {
	Setup    hookTimeout `toml:"setup"`
	Test     hookTimeout `toml:"test"`
	Deploy   hookTimeout `toml:"deploy"`
	OnError  hookTimeout `toml:"on-error"`
	Teardown hookTimeout `toml:"teardown"`
}

// hookTimeout is a limit that may be given as none: "".
type hookTimeout struct {
	given bool
	limit age
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *hookTimeout) UnmarshalText(text []byte) error {
	t.given = true
	return t.limit.UnmarshalText(text)
}

// runConfig says how a CI's run works.
type runConfig struct {
	Parallel int `toml:"parallel"` // releases at a time
}

// reportConfig says what of a run goes into its report.
type reportConfig struct {
	MaxLog         byteSize   `toml:"max_log"`
	MaxAttachment  byteSize   `toml:"max_attachment"`  // one file
	MaxAttachments int        `toml:"max_attachments"` // how many files
	MaxTotal       byteSize   `toml:"max_total"`       // all files
	Redact         []redacted `toml:"redact"`          // what must not leave the host
}

// byteSize is a size as people write it: 500K, 10M, 1G, or a plain number of bytes.
type byteSize int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := parseRate(string(text))
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no size; write bytes like 500K, 10M or 1G", text)
	}
	*b = byteSize(n)
	return nil
}

// redacted is a pattern, compiled where it is read so that an error has its line.
type redacted struct{ *regexp.Regexp }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *redacted) UnmarshalText(text []byte) (err error) {
	if r.Regexp, err = regexp.Compile(string(text)); err != nil {
		return hinted{err, `patterns are regular expressions (RE2): a sign like ( [ . * that stands for itself has a backslash before it, as in '\('`}
	}
	if r.MatchString("") {
		return hinted{fmt.Errorf("the pattern %q matches where there is nothing", text), "everything would be taken out; name at least one sign that has to be there"}
	}
	return nil
}

// content gives the configured content of reports.
func (c reportConfig) content() fetcher.ReportContent {
	content := fetcher.ReportContent{MaxLog: int64(c.MaxLog), MaxAttachment: int64(c.MaxAttachment), MaxAttachments: c.MaxAttachments, MaxTotal: int64(c.MaxTotal)}
	for _, r := range c.Redact {
		content.Redact = append(content.Redact, r.Regexp)
	}
	return content
}

// check holds the limits to what a report can hold.
func (c reportConfig) check() error {
	for name, size := range map[string]byteSize{"max_log": c.MaxLog, "max_attachment": c.MaxAttachment} {
		if size > fetcher.MaxSent {
			return fmt.Errorf("report.%s is at most %s", name, render.Size(fetcher.MaxSent))
		}
	}
	if c.MaxAttachments < 0 || c.MaxAttachments > manifest.MaxAttachments {
		return fmt.Errorf("report.max_attachments is between 1 and %d, not %d", manifest.MaxAttachments, c.MaxAttachments)
	}
	return nil
}

// maxParallelRuns bounds run.parallel.
const maxParallelRuns = 64

type gateConfig struct {
	Require []string             `toml:"require"`
	MaxAge  age                  `toml:"max_age"`
	Deny    []string             `toml:"deny"`
	Pins    map[string]pinConfig `toml:"pins"`
}

// transferConfig says how releases are moved.
type transferConfig struct {
	Seeds     []string `toml:"seeds"`      // files and release directories, or patterns of them, to take bytes from
	Keep      bool     `toml:"keep"`       // by default; false: run and deploy do not keep what they fetched for the next time
	Parallel  int      `toml:"parallel"`   // ranges at a time
	LimitRate byteRate `toml:"limit_rate"` // bytes a second
}

// byteRate is a rate as people write it: 500K, 10M, 1G, or a plain number of bytes, a second.
type byteRate int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *byteRate) UnmarshalText(text []byte) error {
	n, err := parseRate(string(text))
	*r = byteRate(n)
	return err
}

// parseRate reads a rate. "" is 0, meaning no limit.
func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	digits, shift := s, 0
	if at := strings.IndexByte("KkMmGg", s[len(s)-1]); at >= 0 {
		digits, shift = s[:len(s)-1], 10*(at/2+1)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("%q is no rate; write bytes a second like 500K, 10M or 1G", s)
	}
	return n << shift, nil
}

// transfer gives the configured way of moving releases. A pattern that matches nothing is no seed.
func (c *config) transfer() (fetcher.Transfer, error) {
	t := fetcher.Transfer{Parallel: c.Transfer.Parallel, NoSeeds: !c.Transfer.Keep}
	dir := &config{dir: strings.NewReplacer("\\", "\\\\", "*", "\\*", "?", "\\?", "[", "\\[").Replace(c.dir)} // the folder itself is no pattern
	for _, pattern := range c.Transfer.Seeds {
		names, err := filepath.Glob(dir.abs(pattern))
		if err != nil {
			return t, &manifest.FileError{Name: c.path, Reason: fmt.Sprintf("transfer.seeds: %q is no pattern", pattern)}
		}
		t.Seeds = append(t.Seeds, names...)
	}
	if err := checkParallel("transfer.parallel", t.Parallel); err != nil {
		return t, &manifest.FileError{Name: c.path, Reason: err.Error()}
	}
	return t, nil
}

func checkParallel(what string, n int) error {
	if n < 1 || n > transfer.MaxParallel {
		return usagef("%s is between 1 and %d, not %d", what, transfer.MaxParallel, n)
	}
	return nil
}

type pinConfig struct {
	Keys      []keyID `toml:"keys"`
	Threshold int     `toml:"threshold"`
}

// keyID is a whole TUF key id: a short one, as people are shown, names no key for sure.
type keyID string

var wholeKeyID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *keyID) UnmarshalText(text []byte) error {
	*id = keyID(text)
	if !wholeKeyID.Match(text) {
		return hinted{fmt.Errorf("%q is no whole key id, which has 64 digits, 0-9 and a-f", text),
			"`kitchen role show ROLE` prints the whole ids of a role's keys, `kitchen key show FILE` that of one"}
	}
	return nil
}

// siteID is a site's name, checked where it is read so that an error has its line.
type siteID struct{ manifest.SiteID }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *siteID) UnmarshalText(text []byte) (err error) {
	s.SiteID, err = manifest.ParseSite(string(text))
	return err
}

// follow is the stage a CI follows: "" (validated) or "published".
type follow string

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *follow) UnmarshalText(text []byte) error {
	switch string(text) {
	case "published":
		*f = "published"
	case "", manifest.StageValidated:
		*f = ""
	default:
		return fmt.Errorf("%q is no stage to follow: \"validated\" (the default) or \"published\"", text)
	}
	return nil
}

// age is a duration as people write them: Go's units, and d and w for days and weeks.
type age time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *age) UnmarshalText(text []byte) error {
	d, err := parseAge(string(text))
	*a = age(d)
	return err
}

// parseAge reads an age. "" is 0, meaning no limit.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	text, scale := s, time.Duration(1)
	switch s[len(s)-1] {
	case 'd':
		text, scale = s[:len(s)-1]+"h", 24
	case 'w':
		text, scale = s[:len(s)-1]+"h", 7*24
	}
	d, err := time.ParseDuration(text)
	what := ""
	switch {
	case err != nil:
		what = "no duration"
	case d <= 0:
		what = "not more than 0"
	case d > 100*365*24*time.Hour/scale:
		what = "more than 100 years"
	default:
		return d * scale, nil
	}
	return 0, fmt.Errorf("%q is %s; write it like 90m, 24h or 7d", s, what)
}

const defaultConfig = "kitchen.toml"

// maxConfig bounds a kitchen.toml; a real one has a few lines.
const maxConfig = 1 << 20

// loadConfig reads path, or kitchen.toml in the working directory if path is
// empty and there is one.
func loadConfig(path string) (*config, error) {
	asked := path != ""
	if !asked {
		path = defaultConfig
	}
	data, err := readCapped(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) && !asked {
		dir, err := os.Getwd()
		c := newConfig("")
		c.dir = dir
		return c, err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hinted{fmt.Errorf("configuration: %w", err), "name the right file with --config or KITCHEN_CONFIG"}
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return parseConfig(path, data)
}

// newConfig has what a kitchen.toml means that says nothing.
func newConfig(path string) *config {
	return &config{path: path, Run: runConfig{Parallel: 1}, Transfer: transferConfig{Keep: true, Parallel: transfer.DefaultParallel}}
}

func parseConfig(path string, data []byte) (*config, error) {
	c := newConfig(path)
	if err := manifest.DecodeTOML(path, data, c); err != nil {
		return nil, err
	}
	var err error
	if c.dir, err = filepath.Abs(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := errors.Join(c.checkHooks(), c.Report.check()); err != nil {
		return nil, &manifest.FileError{Name: path, Reason: err.Error()}
	}
	for _, role := range slices.Sorted(maps.Keys(c.Keys)) {
		if !hasKeys(role) {
			return nil, &manifest.FileError{Name: path, Reason: fmt.Sprintf("keys: no role is called %q", role)}
		}
	}
	return c, nil
}

// hasKeys says whether [keys] may name role.
func hasKeys(role string) bool {
	switch role {
	case "online", "root", "targets":
		return true
	}
	kind, _, _ := manifest.SplitRole(role)
	return kind != ""
}

// abs makes a path of the configuration absolute; URIs stay as they are.
func (c *config) abs(path string) string {
	if path == "" || filepath.IsAbs(path) || strings.Contains(path, "://") || keys.IsURI(path) {
		return path
	}
	return filepath.Join(c.dir, path)
}

// keyFiles are the configured key files of a role, ready to open.
func (c *config) keyFiles(role string) []string {
	var files []string
	for _, f := range c.Keys[role] {
		files = append(files, c.abs(f))
	}
	return files
}

// hooks gives the configured hooks by name.
func (c *config) hooks() map[string][]string {
	all := map[string][]string{fetcher.HookSetup: c.Hooks.Setup, fetcher.HookTest: c.Hooks.Test, fetcher.HookDeploy: c.Hooks.Deploy,
		fetcher.HookOnError: c.Hooks.OnError, fetcher.HookTeardown: c.Hooks.Teardown}
	maps.DeleteFunc(all, func(_ string, argv []string) bool { return argv == nil })
	return all
}

// timeouts gives the limits of single hooks by name.
func (c *config) timeouts() map[string]time.Duration {
	limits, t := map[string]time.Duration{}, c.Hooks.Timeouts
	for name, timeout := range map[string]hookTimeout{fetcher.HookSetup: t.Setup, fetcher.HookTest: t.Test, fetcher.HookDeploy: t.Deploy,
		fetcher.HookOnError: t.OnError, fetcher.HookTeardown: t.Teardown} {
		if timeout.given {
			limits[name] = time.Duration(timeout.limit)
		}
	}
	return limits
}

// checkHooks refuses what would never do anything.
func (c *config) checkHooks() error {
	for name, argv := range c.hooks() {
		if len(argv) == 0 || argv[0] == "" {
			return fmt.Errorf("hooks.%s names no program", name)
		}
	}
	if c.Run.Parallel < 1 || c.Run.Parallel > maxParallelRuns {
		return fmt.Errorf("run.parallel is between 1 and %d, not %d", maxParallelRuns, c.Run.Parallel)
	}
	return nil
}
