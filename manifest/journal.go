package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// JournalSchema is the schema of a segment of the journal.
const JournalSchema = "kitchen.journal/v1"

// MaxJournalReports is how many reports one segment holds.
const MaxJournalReports = 2000

// JournalSegment is one object of the journal: the reports that a commit saw for the
// first time. Segments are chained: each names the one before by number and
// digest, so that whoever holds the newest one's digest holds all of it. Its
// encoding is JSON, indented by one tab, members in the order of the fields here:
//
//	{
//		"schema": "kitchen.journal/v1",
//		"number": 2,
//		"previous": {
//			"number": 1,
//			"sha256": "<sha256 of journal/1.json>"
//		},
//		"seen": "2026-01-31T12:00:00Z",
//		"reports": [
//			{
//				"path": "reports/acme/staging/openstack/2.1.0/20260131T115800Z-0123456789abcdef.json",
//				"sha256": "0123456789abcdef…",
//				"size": 5120
//			}
//		]
//	}
//
// previous is left out in the first segment alone. Numbers rise; those that an
// unfinished commit used up are skipped.
type JournalSegment struct {
	Number   int64
	Previous *JournalLink // nil in the first segment
	Seen     time.Time    // when the commit saw the reports; UTC, whole seconds
	Reports  []JournalReport
}

// JournalLink names a segment.
type JournalLink struct {
	Number int64  `json:"number"`
	SHA256 string `json:"sha256"` // of the object
}

// JournalReport is one report, as it was when it was first seen.
type JournalReport struct {
	Path   string `json:"path"`   // its object key, see ReportObject
	SHA256 string `json:"sha256"` // of the bundle's bytes; its first 16 digits are those of the path
	Size   int64  `json:"size"`   // bytes
}

type journalJSON struct {
	Schema   string          `json:"schema"`
	Number   int64           `json:"number"`
	Previous *JournalLink    `json:"previous,omitempty"`
	Seen     string          `json:"seen"`
	Reports  []JournalReport `json:"reports"`
}

// JournalObject is the key of a segment, and its target path in the role journal.
func JournalObject(n int64) string { return RoleJournal + "/" + strconv.FormatInt(n, 10) + ".json" }

// ParseJournalObject is the inverse of JournalObject; it accepts nothing else.
func ParseJournalObject(key string) (int64, error) {
	name, ok := strings.CutPrefix(key, RoleJournal+"/")
	number, isJSON := strings.CutSuffix(name, ".json")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || !isJSON || err != nil || !isNumber(number) || n > maxSafeInt {
		return 0, fmt.Errorf("%q is no segment of the journal (%s/NUMBER.json)", clip(key), RoleJournal)
	}
	return n, nil
}

// Encode renders the segment. The same segment gives the same bytes.
func (s *JournalSegment) Encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("journal segment %d: %w", s.Number, err)
	}
	return plainJSON(journalJSON{JournalSchema, s.Number, s.Previous, s.Seen.UTC().Format(time.RFC3339), s.Reports}, "\t")
}

// ParseJournalSegment reads a segment. It accepts exactly what Encode renders.
func ParseJournalSegment(data []byte) (*JournalSegment, error) {
	if int64(len(data)) > kindJournal.MaxSize {
		return nil, errors.New("journal segment is larger than 2 MiB")
	}
	if err := CheckJSON(data); err != nil {
		return nil, fmt.Errorf("journal segment: %w", err)
	}
	var j journalJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("journal segment: %w", err)
	}
	if j.Schema != JournalSchema {
		return nil, fmt.Errorf("journal segment: schema %q is not %s", clip(j.Schema), JournalSchema)
	}
	seen, err := time.Parse(time.RFC3339, j.Seen)
	if err != nil {
		return nil, fmt.Errorf("journal segment: seen: %w", err)
	}
	s := &JournalSegment{Number: j.Number, Previous: j.Previous, Seen: seen.UTC(), Reports: j.Reports}
	canonical, err := s.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(canonical, data) {
		return nil, fmt.Errorf("journal segment %d is not in canonical form (line %d)", s.Number, firstDifference(canonical, data))
	}
	return s, nil
}

func (s *JournalSegment) check() error {
	if s.Number < 1 || s.Number > maxSafeInt {
		return errors.New("its number is out of range")
	}
	if p := s.Previous; p != nil {
		if p.Number < 1 || p.Number >= s.Number {
			return fmt.Errorf("it follows on segment %d", p.Number)
		}
		if err := checkDigest("the previous segment's digest", p.SHA256); err != nil {
			return err
		}
	}
	if err := checkTime(s.Seen); err != nil {
		return fmt.Errorf("seen %w", err)
	}
	if len(s.Reports) == 0 || len(s.Reports) > MaxJournalReports {
		return fmt.Errorf("it holds %d reports, 1 to %d may be", len(s.Reports), MaxJournalReports)
	}
	for i := range s.Reports {
		if err := s.Reports[i].check(); err != nil {
			return err
		}
		if i > 0 && s.Reports[i-1].Path >= s.Reports[i].Path {
			return errors.New("its reports are not in the order of their paths, each once")
		}
	}
	return nil
}

func (r *JournalReport) check() error {
	_, _, _, short, err := ParseReportObject(r.Path)
	if err != nil {
		return err
	}
	if err := checkDigest("the digest of "+r.Path, r.SHA256); err != nil {
		return err
	}
	if !strings.HasPrefix(r.SHA256, short) {
		return fmt.Errorf("the digest of %s is %s", r.Path, r.SHA256)
	}
	if r.Size < 1 || r.Size > kindReport.MaxSize {
		return fmt.Errorf("the size of %s is %d bytes", r.Path, r.Size)
	}
	return nil
}
