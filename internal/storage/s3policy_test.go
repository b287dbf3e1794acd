package storage_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// TestPolicyFormats holds each dialect to its text.
func TestPolicyFormats(t *testing.T) {
	t.Parallel()
	place, err := storage.ParseS3Place("s3://b/cat?endpoint=https://s3.example.org")
	if err != nil {
		t.Fatal(err)
	}
	access := manifest.Access{Reads: []string{"blobs/", "reports/acme/"}, Lists: []string{"reports/acme/"}, Creates: []string{"reports/acme/"}}
	const (
		read   = `"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/cat/blobs/*","arn:aws:s3:::b/cat/reports/acme/*"]}`
		list   = `"Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"],"Condition":{"StringLike":{"s3:prefix":["cat/reports/acme/*"]}}}`
		create = `"Action":["s3:PutObject"],"Resource":["arn:aws:s3:::b/cat/reports/acme/*"]`
		who    = `{"Effect":"Allow","Principal":{"AWS":["key-of-acme"]},`
	)
	of := func(sid string) string { return `{"Sid":"` + sid + `","Effect":"Allow",` }
	for format, want := range map[string][]string{
		"minio":     {of("Read") + read, of("List") + list, of("Create") + create + "}"},
		"versitygw": {who + read, who + list, who + create + "}"},
		"aws": {of("Read") + read, of("List") + list, of("Create") + create + `,"Condition":{"Null":{"s3:if-none-match":["false"]}}}`,
			of("SendParts") + create + `,"Condition":{"Bool":{"s3:ObjectCreationOperation":["false"]}}}`},
	} {
		policy, err := place.Policy(format, access, "key-of-acme")
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(policy)
		if err != nil {
			t.Fatal(err)
		}
		if text := `{"Version":"2012-10-17","Statement":[` + strings.Join(want, ",") + `]}`; string(got) != text {
			t.Errorf("%s:\n%s, want\n%s", format, got, text)
		}
	}
	if _, err := place.Policy("gcs", access, ""); err == nil {
		t.Error("a format that nobody knows")
	}
}

func TestPlacesOfPolicies(t *testing.T) {
	t.Parallel()
	if place, err := storage.ParseS3Place("s3://bucket"); err != nil || place != (storage.S3Place{Bucket: "bucket"}) {
		t.Errorf("a whole bucket: %+v, %v", place, err)
	}
	for _, bad := range []string{"file:///dir", "https://user:secret@host/b", "s3://", "s3://b/a/../c", "s3://b/c*", "s3://b/$%7Baws:username%7D", "s3://b\x7f"} {
		_, err := storage.ParseS3Place(bad)
		var address *storage.AddressError
		if !errors.As(err, &address) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want *AddressError", bad, err)
		}
	}
}
