package manifest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

func indented(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReportGolden(t *testing.T) {
	deployment := sampleReport()
	deployment.Type, deployment.Result, deployment.Failed, deployment.Log = ReportDeployment, Passed, nil, nil
	deployment.From, deployment.Reason, deployment.Sequence, deployment.Previous = "2.0.0", "", 1, ""
	notRun := sampleReport()
	notRun.Refined, notRun.Passed, notRun.Warned, notRun.Failed = NotRun, nil, nil, nil
	for name, r := range map[string]*Report{"report-test.json": sampleReport(), "report-deployment.json": deployment, "report-not-run.json": notRun} {
		data, err := r.Statement()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, indented(t, data))
		back, err := ParseStatement(data)
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%s: have %+v, %v", name, back, err)
		}
	}
	if notRun.Verdict() != NotRun || deployment.Verdict() != Passed {
		t.Error("Verdict")
	}
}

// TestStockInToto: the reference implementation takes our statement, and we
// take what it may add.
func TestStockInToto(t *testing.T) {
	data, err := sampleReport().Statement()
	if err != nil {
		t.Fatal(err)
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	configuration := s.GetPredicate().GetFields()["configuration"].GetListValue().GetValues()[0]
	raw, _ := protojson.Marshal(configuration)
	var d intoto.ResourceDescriptor
	if err := protojson.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := ParseStatement([]byte(protojson.Format(&s))); err != nil {
		t.Errorf("the statement as others render it: %v", err)
	}
	more := strings.Replace(string(data), `"result":`, `"url": "https://ci.example/1", "extra": {"a": [1.5, null]}, "result":`, 1)
	more = strings.Replace(more, `"sha256":"`+digest("manifest"), `"sha512": "00", "sha256":"`+digest("manifest"), 1)
	more = strings.Replace(more, `"started"`, `"Site": "evil/site", "host": "ci-1", "started"`, 1)
	if back, err := ParseStatement([]byte(more)); err != nil || !reflect.DeepEqual(back, sampleReport()) {
		t.Errorf("have %+v, %v", back, err)
	}
}

func TestBadStatement(t *testing.T) {
	good, err := sampleReport().Statement()
	if err != nil {
		t.Fatal(err)
	}
	subject := `{"name":"catalog/openstack/2.1.0/manifest.toml","digest":{"sha256":"` + digest("manifest") + `"}}`
	for _, c := range []struct{ name, old, new, says string }{
		{"not JSON", `{"_type"`, `{_type`, "JSON"},
		{"trailing data", `]}}`, `]}}{}`, "JSON"},
		{"not UTF-8", `"boot"`, "\"b\xffot\"", "UTF-8"},
		{"duplicate result", `"result":"FAILED"`, `"result":"FAILED","result":"PASSED"`, "twice"},
		{"duplicate by escape", `"result":"FAILED"`, `"result":"FAILED","resul\u0074":"PASSED"`, "twice"},
		{"nested too deep", `"result"`, `"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `,"result"`, "levels deep"},
		{"old statement", "Statement/v1", "Statement/v0.1", "_type"},
		{"another predicate", "test-result/v0.1", "test-result/v0.2", "predicateType"},
		{"no subject", subject, "", "exactly one"},
		{"two subjects", subject, subject + "," + subject, "subject"},
		{"subject of another stage", "catalog/openstack", "validated/openstack", "stage"},
		{"subject out of its directory", "catalog/openstack", "catalog/..", "subject[0].name"},
		{"no digest", `{"sha256":"` + digest("manifest"), `{"sha512":"` + digest("manifest"), "digest"},
		{"upper-case digest", digest("manifest"), strings.ToUpper(digest("manifest")), "digest"},
		{"result in lower case", `"FAILED"`, `"failed"`, "result"},
		{"passed with failed tests", `"FAILED"`, `"PASSED"`, "listed as failed"},
		{"refined into a pass", `"timestampVersion"`, `"refined":"PASSED","timestampVersion"`, "refined"},
		{"no configuration", `"configuration"`, `"Configuration"`, "configuration[0]"},
		{"no annotations", `"annotations"`, `"notes"`, "annotations"},
		{"no site", `"site"`, `"Site"`, "site"},
		{"site that climbs", `"acme/staging"`, `"acme/../staging"`, "site"},
		{"sequence 0", `"sequence":2`, `"sequence":0`, "sequence"},
		{"sequence as a float", `"sequence":2`, `"sequence":2.0`, "sequence"},
		{"sequence beyond 2^53", `"sequence":2`, `"sequence":9007199254740993`, "sequence"},
		{"sequence 1 with a previous", `"sequence":2`, `"sequence":1`, "do not fit"},
		{"sequence 2 without a previous", `"previous":"` + digest("first") + `",`, ``, "do not fit"},
		{"time with another zone", "12:00:00Z", "12:00:00+00:00", "started"},
		{"time with a fraction", "12:00:00Z", "12:00:00.0Z", "started"},
		{"finished before it started", "12:03:00Z", "11:03:00Z", "before it started"},
		{"test name with an escape", `"boot"`, `"\u001b[2Jboot"`, "control character"},
		{"test name that is no string", `"boot"`, `7`, "not a string"},
		{"log beyond the cap", `"size":1234`, `"size":99999999999`, "log"},
		{"log of a wrong digest", digest("log"), "../../x", "log"},
		{"attachment that climbs", `"screens/boot.png"`, `"../boot.png"`, "path"},
		{"attachment twice", `"über.txt"`, `"screens/boot.png"`, "listed twice"},
		{"attachment with an escape", `"über.txt"`, `"\u001b[2J"`, "control character"},
		{"attachment without a name", `"über.txt"`, `""`, "empty"},
		{"attachment of a wrong digest", digest("boot.png"), "../../x", "digest"},
		{"attachment beyond the cap", `"size":99,`, `"size":99999999999,`, "stored size"},
		{"attachments that are no list", `"attachments":[`, `"attachments":{},"x":[`, "list"},
		{"reason of a wrong type", `"api answered 500\nsee the log"`, `{}`, "reason"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(string(good), c.old, c.new, 1)
			if text == string(good) {
				t.Fatal("the case changes nothing")
			}
			r, err := ParseStatement([]byte(text))
			if r != nil {
				t.Error("a value came with the error")
			}
			wantError(t, err, "statement", c.says)
		})
	}
}

func TestReportLimits(t *testing.T) {
	for name, change := range map[string]func(r *Report){
		"type":           func(r *Report) { r.Type = "" },
		"too many tests": func(r *Report) { r.Passed = make([]string, MaxTests) },
		"too large": func(r *Report) {
			r.Passed = make([]string, 3000)
			for i := range r.Passed {
				r.Passed[i] = strings.Repeat("x", MaxTestName)
			}
		},
		"long test name":   func(r *Report) { r.Passed = []string{strings.Repeat("x", MaxTestName+1)} },
		"long reason":      func(r *Report) { r.Reason = strings.Repeat("x", MaxReason+1) },
		"no start":         func(r *Report) { r.Started = time.Time{} },
		"year of 5 digits": func(r *Report) { r.Finished = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"from":             func(r *Report) { r.From = "not a version" },
		"attachments":      func(r *Report) { r.Attachments = make([]Attachment, MaxAttachments+1) },
		"long attachment":  func(r *Report) { r.Attachments[0].Name = strings.Repeat("x", MaxAttachmentName+1) },
		"refined PASSED":   func(r *Report) { r.Result, r.Failed, r.Refined = Passed, nil, Errored },
	} {
		r := sampleReport()
		change(r)
		if data, err := r.Statement(); err == nil || data != nil && name != "too large" {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParseStatement(make([]byte, MaxStatementSize+1)); err == nil {
		t.Error("a statement beyond the cap is read")
	}
}

func TestEvidence(t *testing.T) {
	e := sampleEvidence()
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "evidence.json", data)
	back, err := ParseEvidence(data)
	if err != nil || !reflect.DeepEqual(back, e) {
		t.Errorf("have %+v, %v", back, err)
	}
	e.Reports, e.Note = nil, ""
	data, err = e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseEvidence(data); err != nil || !reflect.DeepEqual(back, e) {
		t.Errorf("have %+v, %v", back, err)
	}
}

func TestBadEvidence(t *testing.T) {
	good, err := sampleEvidence().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"schema": {"evidence/v1", "evidence/v2"}, "release": {"openstack@", "Openstack@"}, "unknown member": {`"note"`, `"x": 1, "note"`},
		"member in another case": {`"note"`, `"Note"`}, "twice": {`"registry_version": 7`, `"registry_version": 7, "registry_version": 8`},
		"verdict": {NotRun, "MAYBE"}, "sequence": {`"sequence": 3`, `"sequence": 0`}, "site": {"acme/staging", "acme"}, "digest": {digest("r1"), "r1"},
		"time": {"12:00:00Z", "12:00:00.0Z"}, "negative": {`"recalled_version": 1`, `"recalled_version": -1`}, "blank": {"{\n", "{ \n"},
		"no list": {`"reports": [`, `"reports": null, "x": [`}, "escape in the note": {"looked", `\u001b`}, "type": {`"registry_version": 7`, `"registry_version": "7"`},
	} {
		text := strings.Replace(string(good), change[0], change[1], 1)
		if text == string(good) {
			t.Fatalf("%s changes nothing", name)
		}
		if e, err := ParseEvidence([]byte(text)); err == nil || e != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCheckJSON(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, `[1, {"a": null, "A": 1}]`: true, ` "x" `: true, strings.Repeat("[", 32) + strings.Repeat("]", 32): true,
		``: false, `{} {}`: false, `{"a":1,"a":1}`: false, `[{"a":{"b":1,"b":2}}]`: false, "\"\xff\"": false, `{"a":1,}`: false,
		strings.Repeat("[", 34) + strings.Repeat("]", 34): false, strings.Repeat("[", 1<<20): false, `NaN`: false,
	} {
		if err := CheckJSON([]byte(text)); (err == nil) != ok {
			t.Errorf("CheckJSON(%q): %v", clip(text), err)
		}
	}
}
