package storage_test

import (
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

func openURL(t testing.TB, url string, opts storage.Options) storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) (storage.Store, func() storage.Store) {
		url := "file://" + t.TempDir() + "/not/there yet"
		again := func() storage.Store { return openURL(t, url, storage.Options{CreateBucket: true}) }
		return again(), again
	})
}

func TestS3(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	storagetest.Run(t, func(t *testing.T) (storage.Store, func() storage.Store) {
		bucket := server.Bucket(t)
		again := func() storage.Store { return server.Open(t, bucket, "some/prefix", storage.Options{}) }
		return again(), again
	})
}

func TestS3InParts(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	storagetest.RunLarge(t, func(t *testing.T) (storage.Store, func() storage.Store) {
		bucket := server.Bucket(t)
		again := func() storage.Store {
			return server.Open(t, bucket, "some/prefix", storage.Options{Parts: smallParts})
		}
		return again(), again
	})
}
