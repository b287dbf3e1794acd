package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// statementType is the _type of an in-toto Statement v1.
const statementType = "https://in-toto.io/Statement/v1"

// statementJSON is the form of a report that Report documents.
type statementJSON struct {
	Type          string        `json:"_type"`
	Subject       []subjectJSON `json:"subject"`
	PredicateType string        `json:"predicateType"`
	Predicate     predicateJSON `json:"predicate"`
}

type subjectJSON struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type predicateJSON struct {
	Result        string           `json:"result"`
	Configuration []descriptorJSON `json:"configuration,omitempty"` // test
	Run           *runJSON         `json:"run,omitempty"`           // deployment
	Passed        []string         `json:"passedTests,omitempty"`
	Warned        []string         `json:"warnedTests,omitempty"`
	Failed        []string         `json:"failedTests,omitempty"`
}

type descriptorJSON struct {
	Name        string   `json:"name"`
	URI         string   `json:"uri"`
	Annotations *runJSON `json:"annotations"`
}

type runJSON struct {
	Site             string   `json:"site"`
	Started          string   `json:"started"`
	Finished         string   `json:"finished"`
	Sequence         int64    `json:"sequence"`
	Previous         string   `json:"previous,omitempty"`
	TimestampVersion int64    `json:"timestampVersion"`
	Refined          string   `json:"refined,omitempty"`
	Reason           string   `json:"reason,omitempty"`
	From             string   `json:"from,omitempty"`
	Log              *logJSON `json:"log,omitempty"`

	Attachments []logJSON `json:"attachments,omitempty"`
}

type logJSON struct {
	Name    string `json:"name,omitempty"` // of an attachment
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"`
	RawSize int64  `json:"rawSize"`
}

// Statement renders the report as an in-toto Statement v1, ready to be signed.
// What it refuses, ParseStatement would refuse too.
func (r *Report) Statement() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("report of %s on %s: %w", r.Site, r.Release, err)
	}
	run := &runJSON{
		Site: r.Site.String(), Started: r.Started.UTC().Format(time.RFC3339), Finished: r.Finished.UTC().Format(time.RFC3339),
		Sequence: r.Sequence, Previous: r.Previous, TimestampVersion: r.TimestampVersion,
		Refined: r.Refined, Reason: r.Reason, From: r.From,
	}
	if r.Log != nil {
		run.Log = &logJSON{"", r.Log.SHA256, r.Log.Size, r.Log.RawSize}
	}
	for _, a := range r.Attachments {
		run.Attachments = append(run.Attachments, logJSON{a.Name, a.SHA256, a.Size, a.RawSize})
	}
	s := statementJSON{
		Type:          statementType,
		Subject:       []subjectJSON{{TargetPath(StageCatalog, r.Release), map[string]string{"sha256": r.ManifestSHA256}}},
		PredicateType: PredicateTest,
		Predicate:     predicateJSON{Result: r.Result, Passed: r.Passed, Warned: r.Warned, Failed: r.Failed},
	}
	if r.Type == ReportDeployment {
		s.PredicateType, s.Predicate.Run = PredicateDeployment, run
	} else {
		s.Predicate.Configuration = []descriptorJSON{{"run", "kitchen:" + r.Site.String(), run}}
	}
	data, err := plainJSON(s, "")
	if err == nil && len(data) > MaxStatementSize {
		err = fmt.Errorf("report of %s on %s is larger than 2 MiB: list fewer tests", r.Site, r.Release)
	}
	return data, err
}

// plainJSON marshals without the escapes that HTML needs.
func plainJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// ParseStatement reads a report from its in-toto Statement. Whose signature it
// bears is for the caller to check. It is strict about all that decides: the
// types, exactly one subject, that subject's path and digest, every member of
// the run, and the agreement of result and tests.
func ParseStatement(data []byte) (*Report, error) {
	if len(data) > MaxStatementSize {
		return nil, errors.New("statement is larger than 2 MiB")
	}
	doc, err := parseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	f := &fields{}
	r := &Report{}
	top := f.object(doc, "statement")
	if t := f.text(top, "_type"); t != statementType {
		f.fail("_type", "%q is not %s", clip(t), statementType)
	}
	r.readSubject(f, f.list(top, "subject", 1))
	predicate := f.object(top["predicate"], "predicate")
	r.Result = f.text(predicate, "result")
	switch t := f.text(top, "predicateType"); t {
	case PredicateTest:
		r.Type = ReportTest
		var first any
		if configuration := f.list(predicate, "configuration", 100); len(configuration) > 0 {
			first = configuration[0]
		}
		r.readRun(f, f.object(f.object(first, "configuration[0]")["annotations"], "configuration[0].annotations"))
	case PredicateDeployment:
		r.Type = ReportDeployment
		r.readRun(f, f.object(predicate["run"], "run"))
	default:
		f.fail("predicateType", "%q is neither a test nor a deployment", clip(t))
	}
	r.Passed = f.strings(predicate, "passedTests", MaxTests)
	r.Warned = f.strings(predicate, "warnedTests", MaxTests)
	r.Failed = f.strings(predicate, "failedTests", MaxTests)
	if f.err == nil {
		f.err = r.check()
	}
	if f.err != nil {
		return nil, fmt.Errorf("statement: %w", f.err)
	}
	return r, nil
}

func (r *Report) readSubject(f *fields, subjects []any) {
	if len(subjects) != 1 {
		f.fail("subject", "must be exactly one: the release's manifest")
		return
	}
	subject := f.object(subjects[0], "subject[0]")
	stage, release, err := ParseTargetPath(f.text(subject, "name"))
	switch {
	case err != nil:
		f.fail("subject[0].name", "is not a release: %v", err)
	case stage != StageCatalog:
		f.fail("subject[0].name", "is a path of stage %q, not of %q", stage, StageCatalog)
	}
	r.Release = release
	r.ManifestSHA256 = f.text(f.object(subject["digest"], "subject[0].digest"), "sha256")
}

func (r *Report) readRun(f *fields, run map[string]any) {
	site, err := ParseSite(f.text(run, "site"))
	if err != nil {
		f.fail("site", "is missing or wrong: %v", err)
	}
	r.Site = site
	r.Started, r.Finished = f.time(run, "started"), f.time(run, "finished")
	r.Sequence, r.TimestampVersion = f.int(run, "sequence"), f.int(run, "timestampVersion")
	r.Previous = f.text(run, "previous")
	r.Refined = f.text(run, "refined")
	r.Reason = f.text(run, "reason")
	r.From = f.text(run, "from")
	if log, there := run["log"]; there {
		ref := readLogRef(f, f.object(log, "log"))
		r.Log = &ref
	}
	for _, entry := range f.list(run, "attachments", MaxAttachments) {
		o := f.object(entry, "attachments")
		r.Attachments = append(r.Attachments, Attachment{Name: f.text(o, "name"), LogRef: readLogRef(f, o)})
	}
}

func readLogRef(f *fields, o map[string]any) LogRef {
	return LogRef{SHA256: f.text(o, "sha256"), Size: f.int(o, "size"), RawSize: f.int(o, "rawSize")}
}
