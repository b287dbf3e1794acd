package manifest

import (
	"reflect"
	"strings"
	"testing"
)

func sampleSegment() *JournalSegment {
	report := func(site, what string) JournalReport {
		sha := digest(what)
		return JournalReport{ReportObject(SiteID{"acme", site}, Release{"openstack", "2.1.0"}, noon, sha), sha, 5120}
	}
	return &JournalSegment{Number: 3, Previous: &JournalLink{1, digest("one")}, Seen: noon,
		Reports: []JournalReport{report("staging", "a"), report("staging-2", "b")}}
}

func TestJournalSegmentGolden(t *testing.T) {
	s := sampleSegment()
	s.Reports[0], s.Reports[1] = s.Reports[1], s.Reports[0] // "staging-2" sorts before "staging/"
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "journal-3.json", data)
	back, err := ParseJournalSegment(data)
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("have %+v, %v\nwant %+v", back, err, s)
	}
}

func TestSegmentsThatCannotBe(t *testing.T) {
	for says, spoil := range map[string]func(*JournalSegment){
		"number is out of range":    func(s *JournalSegment) { s.Number = 0 },
		"follows on segment 3":      func(s *JournalSegment) { s.Previous.Number = 3 },
		"previous segment's digest": func(s *JournalSegment) { s.Previous.SHA256 = "00" },
		"seen":                      func(s *JournalSegment) { s.Seen = s.Seen.AddDate(9000, 0, 0) },
		"holds 0 reports":           func(s *JournalSegment) { s.Reports = nil },
		"holds 2001 reports":        func(s *JournalSegment) { s.Reports = make([]JournalReport, MaxJournalReports+1) },
		"order of their paths":      func(s *JournalSegment) { s.Reports = append(s.Reports, s.Reports[1]) },
		"is not a report":           func(s *JournalSegment) { s.Reports[0].Path = "reports/../x" },
		"the digest of":             func(s *JournalSegment) { s.Reports[0].SHA256 = digest("other") },
		"the size of":               func(s *JournalSegment) { s.Reports[0].Size = 5 << 20 },
	} {
		s := sampleSegment()
		s.Reports[0], s.Reports[1] = s.Reports[1], s.Reports[0]
		spoil(s)
		_, err := s.Encode()
		wantError(t, err, says)
	}
}

func TestSegmentsAreReadStrictly(t *testing.T) {
	s := sampleSegment()
	s.Reports = s.Reports[:1]
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for says, edit := range map[string][2]string{
		"appears twice":  {`"number": 3,`, `"number": 3, "number": 3,`},
		"canonical form": {`"number": 3,`, `"number":  3,`},
		"schema":         {"journal/v1", "journal/v2"},
		"cannot":         {`"number": 3,`, `"number": "3",`},
		"not one JSON":   {"}\n]", "}"},
	} {
		spoilt := strings.Replace(string(data), edit[0], edit[1], 1)
		if spoilt == string(data) {
			spoilt += "}"
		}
		if _, err := ParseJournalSegment([]byte(spoilt)); says != "cannot" {
			wantError(t, err, says)
		} else if err == nil {
			t.Error("a number in quotes is taken")
		}
	}
	if n, err := ParseJournalObject(JournalObject(17)); n != 17 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"journal/0.json", "journal/01.json", "journal/1", "journal/x.json", "journal/a/1.json", "journal/9007199254740993.json"} {
		if n, err := ParseJournalObject(bad); err == nil {
			t.Errorf("%s is segment %d", bad, n)
		}
	}
}
