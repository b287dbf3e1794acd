package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// What went wrong, for errors.Is. Every error of a store wraps at most one of them.
var (
	ErrNotFound    = errors.New("no such object")
	ErrForbidden   = errors.New("access denied")
	ErrUnavailable = errors.New("store out of reach")
	ErrWrongAnswer = errors.New("wrong answer") // of a store that is in reach; it is ErrUnavailable, too: another request may get a right one
	ErrExists      = errors.New("exists with other content")
	ErrConflict    = errors.New("changed by another writer")
	ErrTooLarge    = errors.New("larger than allowed")
	ErrNotModified = errors.New("not modified")
	ErrUnsupported = errors.New("not supported by this store")
)

// Error is one failed operation on one object.
type Error struct {
	Op    string // open, stat, create, swap, list, …
	Key   string // "" when the store as a whole is meant
	Store string // its URL, without a password
	Right string // with ErrForbidden: the right that seems to be missing, e.g. "s3:PutObject" or "write permission on /srv/kitchen"
	Err   error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Key != "" {
		b.WriteString(" " + e.Key)
	}
	if e.Store != "" {
		fmt.Fprintf(&b, " (%s)", e.Store)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.Right != "" {
		fmt.Fprintf(&b, " (needs %s)", e.right())
	}
	return b.String()
}

// wrongAnswer is an answer of a store that is in reach, which another request may not get: so it is one with ErrUnavailable.
type wrongAnswer string

func (w wrongAnswer) Error() string { return "the server answers wrongly: " + string(w) }

func (w wrongAnswer) Is(target error) bool {
	return target == ErrUnavailable || target == ErrWrongAnswer
}

// right is the missing right with what it has to be for.
func (e *Error) right() string {
	switch {
	case !strings.HasPrefix(e.Right, "s3:") || e.Key == "":
		return e.Right
	case e.Op == "list":
		return e.Right + " with the prefix " + e.Key
	}
	return e.Right + " on " + e.Key
}

func (e *Error) Unwrap() error { return e.Err }

// Hint says in one sentence what to try, or "" where the error says it all.
func (e *Error) Hint() string {
	var misplaced *Misplaced
	var wrong wrongAnswer
	switch {
	case errors.Is(e.Err, context.Canceled):
		return ""
	case errors.As(e.Err, &misplaced):
		return misplaced.Hint()
	case errors.Is(e.Err, syscall.ENOSPC), errors.Is(e.Err, syscall.EDQUOT):
		return "free some space, then run the same command again; nothing half-written is visible"
	case errors.Is(e.Err, ErrForbidden) && e.Right == "s3:GetObject":
		return "grant " + e.right() + " to these credentials; without s3:ListBucket an object that is absent is refused like this, too"
	case errors.Is(e.Err, ErrForbidden) && e.Op == "list" && strings.HasPrefix(e.Right, "read permission on "):
		return "give this user " + e.Right + "; or, if it is nothing of the catalog's, remove it (rmdir, rm). Nobody can tell what it holds, and so what is needed"
	case errors.Is(e.Err, ErrForbidden):
		if e.Right == "" {
			return "check the credentials, and that they may reach this store"
		}
		return "grant " + e.right() + " to these credentials, or use others"
	case errors.As(e.Err, &wrong):
		return "the store can be reached: have its server, or the proxy before it, give the byte ranges that it is asked for (RFC 9110, section 14); then run the same command again"
	case errors.Is(e.Err, ErrUnavailable):
		return "check the store's address, the network and, over TLS, the certificate authority (SSL_CERT_FILE, AWS_CA_BUNDLE); then run the same command again"
	case errors.Is(e.Err, ErrNotFound) && e.Key == "":
		return "check the store's address; `kitchen init` makes a new catalog"
	case errors.Is(e.Err, ErrNotFound):
		return "check the store's address: this object is not in it"
	case errors.Is(e.Err, ErrExists):
		return "an immutable object with other content has this name; nothing was changed"
	case errors.Is(e.Err, ErrConflict):
		return "somebody else wrote at the same moment; run the same command again"
	case errors.Is(e.Err, ErrTooLarge):
		return "the object is larger than its kind may be; it is not what it says it is"
	case errors.Is(e.Err, ErrUnsupported):
		return "use a file:// or s3:// store for writing and listing"
	}
	return ""
}
