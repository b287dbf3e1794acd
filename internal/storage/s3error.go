package storage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/minio/minio-go/v7"
)

// s3Code is the HTTP status in an error, or 0 when there was no answer.
func s3Code(err error) int {
	var r minio.ErrorResponse
	errors.As(err, &r)
	return r.StatusCode
}

// fail turns an error of the client library into one of this package.
func (s *s3Store) fail(ctx context.Context, op, key string, err error) error {
	if err == nil || errors.Is(err, errRange) {
		return err
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	e := &Error{Op: op, Key: key, Store: s.url, Err: err}
	var reply minio.ErrorResponse
	var creds *credentialError
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &silence{}):
		e.Err = fmt.Errorf("%w: %w", ErrUnavailable, cause)
	case cause != nil:
		e.Err = cause
	case errors.As(err, new(wrongAnswer)):
		e.Err = networkError(err)
	case isKind(err):
	case errors.As(err, &creds):
		e.Err = fmt.Errorf("%w: %w", ErrForbidden, creds)
	case errors.As(err, &reply):
		e.fromS3(reply)
	default:
		e.Err = networkError(err)
	}
	return e
}

// isKind tells an error that already says what it is.
func isKind(err error) bool {
	for _, kind := range []error{ErrNotFound, ErrForbidden, ErrUnavailable, ErrExists, ErrConflict, ErrTooLarge, ErrNotModified, ErrUnsupported} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// identityCodes are refusals of the credentials themselves, not of a right.
var identityCodes = map[string]bool{
	"InvalidAccessKeyId": true, "SignatureDoesNotMatch": true, "ExpiredToken": true, "InvalidToken": true,
	"RequestTimeTooSkewed": true, "InvalidSecurity": true, "AccountProblem": true, "NotSignedUp": true,
	"ExpiredTokenException": true, "XAdminNoSuchUser": true, "RequestExpired": true,
}

// fromS3 reads an error answer: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func (e *Error) fromS3(r minio.ErrorResponse) {
	said := s3Text(r)
	switch {
	case identityCodes[r.Code]:
		e.Err = fmt.Errorf("%w: %s", ErrForbidden, said)
	case r.StatusCode == http.StatusNotModified:
		e.Err = ErrNotModified
	case r.Code == "NoSuchBucket":
		e.Key, e.Err = "", fmt.Errorf("%w: the bucket does not exist", ErrNotFound)
	case r.StatusCode == http.StatusNotFound, r.StatusCode == http.StatusGone:
		e.Err = ErrNotFound
	case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden:
		e.Err, e.Right = ErrForbidden, s3Right(e.Op)
	case parentCodes[r.Code]:
		e.Err = fmt.Errorf("%w: a part of this name is an object, or other objects lie below it", ErrExists)
	case r.StatusCode == http.StatusPreconditionFailed, r.StatusCode == http.StatusConflict:
		e.Err = fmt.Errorf("%w: %s", ErrConflict, said)
	case r.StatusCode == http.StatusNotImplemented:
		e.Err = fmt.Errorf("%w: %s", ErrUnsupported, said)
	case statusError{code: r.StatusCode}.transient(), r.StatusCode == 0:
		e.Err = fmt.Errorf("%w: %s", ErrUnavailable, said)
	default:
		e.Err = fmt.Errorf("the store answers %s", said)
	}
}

// parentCodes are how file-backed S3 servers refuse a key that is a directory of another.
var parentCodes = map[string]bool{
	"ObjectParentIsFile": true, "ExistingObjectIsDirectory": true, "XMinioParentIsObject": true, "XMinioObjectExistsAsDirectory": true,
}

// s3Text is the server's own explanation, made fit for a terminal.
func s3Text(r minio.ErrorResponse) string {
	text := strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.TrimSpace(fmt.Sprintf("%d %s: %s", r.StatusCode, r.Code, r.Message)))
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}

// s3Right is the IAM action that an operation needs.
func s3Right(op string) string {
	switch op {
	case "create", "restore", "swap":
		return "s3:PutObject"
	case "delete":
		return "s3:DeleteObject"
	case "list":
		return "s3:ListBucket"
	case "create bucket":
		return "s3:CreateBucket"
	}
	return "s3:GetObject"
}
