package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

// ConditionError is a store that does not honour the conditions of Create or Swap: two writers would overwrite
// each other there, so no catalog can live in it.
type ConditionError struct{ Store, Seen string }

func (e *ConditionError) Error() string {
	return fmt.Sprintf("%s does not honour conditional writes: %s", e.Store, e.Seen)
}

// Hint says what to look for in a store.
func (e *ConditionError) Hint() string {
	return "use a store that honours If-None-Match and If-Match on PutObject (AWS S3, versitygw, MinIO, Ceph from Squid on), or a directory"
}

// CheckConditionalWrites proves that the store honours the conditions that Kitchen rests on: an object is created
// once, whole or in parts, and swapped only by who saw its last content. It writes two objects, _kitchen/probe-<random>/once and
// /swapped, of a few bytes, and leaves them there: stores need no right to delete. A store that fails the proof
// is a *ConditionError.
func CheckConditionalWrites(ctx context.Context, s Store) error {
	base := "_kitchen/probe-" + rand.Text()
	if err := checkCreateOnce(ctx, s, base+"/once"); err != nil {
		return err
	}
	return checkSwap(ctx, s, base+"/swapped")
}

func checkCreateOnce(ctx context.Context, s Store, key string) error {
	const kind = "text/plain"
	one, two := []byte("one\n"), []byte("two\n")
	if err := s.Create(ctx, key, bytes.NewReader(one), int64(len(one)), kind, ""); err != nil {
		return err
	}
	err := s.Create(ctx, key, bytes.NewReader(two), int64(len(two)), kind, "")
	switch {
	case err == nil:
		return &ConditionError{s.URL(), "an object was overwritten by a second create (If-None-Match: *)"}
	case !errors.Is(err, ErrExists):
		return err
	}
	if s, ok := s.(inParts); ok {
		u := upload{key: key, body: bytes.NewReader(two), size: int64(len(two)), opts: putOptions(kind, "")}
		switch err := s.createInParts(ctx, u); {
		case err == nil:
			return &ConditionError{s.URL(), "an object was overwritten by an upload in parts (If-None-Match: * at its completion)"}
		case !errors.Is(err, ErrExists) && !errors.Is(err, ErrUnsupported):
			return err
		}
	}
	return expectContent(ctx, s, key, one)
}

// inParts is a store that creates large objects in another way than small ones.
type inParts interface {
	Store
	createInParts(context.Context, upload) error
}

func checkSwap(ctx context.Context, s Store, key string) error {
	const kind = "text/plain"
	first, err := s.Swap(ctx, key, "", []byte("one\n"), kind, "no-store")
	if err != nil {
		return err
	}
	if _, err := s.Swap(ctx, key, first, []byte("two\n"), kind, "no-store"); err != nil {
		return err
	}
	for _, stale := range []string{first, ""} {
		_, err := s.Swap(ctx, key, stale, []byte("three\n"), kind, "no-store")
		switch {
		case err == nil:
			return &ConditionError{s.URL(), "an object was swapped by a writer that had not seen its last content (If-Match)"}
		case !errors.Is(err, ErrConflict):
			return err
		}
	}
	return expectContent(ctx, s, key, []byte("two\n"))
}

func expectContent(ctx context.Context, s Store, key string, want []byte) error {
	got, _, err := ReadAll(ctx, s, key, 1<<10)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return &ConditionError{s.URL(), "an object does not read as it was written"}
	}
	return nil
}
