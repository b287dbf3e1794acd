package storage

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/enovance/kitchen/manifest"
)

// PolicyFormats are the dialects in which an S3Policy can be written.
//
// "aws" and "minio" are policies of a user (or role, or group) and name nobody. "versitygw" is a part of a bucket's
// policy and names the user by its access key; such a server keeps one policy a bucket, to which the statements of all
// users belong. "aws" alone can demand that an upload be conditional, which makes "create" mean create.
var PolicyFormats = []string{"aws", "minio", "versitygw"}

// S3Policy is a policy document of the language that S3 servers share, version 2012-10-17.
type S3Policy struct {
	Version   string        `json:"Version"`
	Statement []S3Statement `json:"Statement"`
}

// S3Statement allows something.
type S3Statement struct {
	Sid       string                         `json:"Sid,omitempty"`
	Effect    string                         `json:"Effect"`
	Principal map[string][]string            `json:"Principal,omitempty"`
	Action    []string                       `json:"Action"`
	Resource  []string                       `json:"Resource"`
	Condition map[string]map[string][]string `json:"Condition,omitempty"`
}

// S3Place is where an s3:// address keeps its objects.
type S3Place struct {
	Bucket string
	Prefix string // of every key; "" or ending in "/"
}

// ParseS3Place reads an address such as s3://bucket/prefix?endpoint=…. The error is an *AddressError.
func ParseS3Place(rawURL string) (S3Place, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "s3" {
		return S3Place{}, &AddressError{URL: "…", Reason: "not the address of a bucket"} // it may hold a password
	}
	a, err := parseS3(u, Options{})
	if err != nil {
		return S3Place{}, err
	}
	if strings.ContainsAny(a.bucket+a.prefix, "*?$") {
		return S3Place{}, &AddressError{URL: shown(u), Reason: "has a character with a meaning in policies: * ? $"}
	}
	return S3Place{a.bucket, a.prefix}, nil
}

// Policy writes down what may be read, listed and created at a place; user is for the formats that name one.
func (p S3Place) Policy(format string, access manifest.Access, user string) (*S3Policy, error) {
	objects := func(prefixes []string) []string { return p.each("arn:aws:s3:::"+p.Bucket+"/", prefixes) }
	read := S3Statement{Sid: "Read", Action: []string{"s3:GetObject"}, Resource: objects(access.Reads)}
	list := S3Statement{Sid: "List", Action: []string{"s3:ListBucket"}, Resource: []string{"arn:aws:s3:::" + p.Bucket},
		Condition: condition("StringLike", "s3:prefix", p.each("", access.Lists)...)}
	create := S3Statement{Sid: "Create", Action: []string{"s3:PutObject"}, Resource: objects(access.Creates)}
	policy := &S3Policy{Version: "2012-10-17", Statement: []S3Statement{read, list, create}}
	switch format {
	case "minio":
	case "aws":
		parts := create
		policy.Statement[2].Condition = condition("Null", "s3:if-none-match", "false")
		parts.Sid, parts.Condition = "SendParts", condition("Bool", "s3:ObjectCreationOperation", "false")
		policy.Statement = append(policy.Statement, parts)
	case "versitygw":
		for i := range policy.Statement {
			policy.Statement[i].Sid, policy.Statement[i].Principal = "", map[string][]string{"AWS": {user}}
		}
	default:
		return nil, fmt.Errorf("%q is no format of policies: they are %s", format, strings.Join(PolicyFormats, ", "))
	}
	for i := range policy.Statement {
		policy.Statement[i].Effect = "Allow"
	}
	return policy, nil
}

// each is a pattern for everything below each of the prefixes.
func (p S3Place) each(before string, prefixes []string) []string {
	patterns := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		patterns[i] = before + p.Prefix + prefix + "*"
	}
	return patterns
}

func condition(operator, key string, values ...string) map[string]map[string][]string {
	return map[string]map[string][]string{operator: {key: values}}
}
