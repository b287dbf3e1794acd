package storagetest

import (
	"testing"

	"github.com/enovance/kitchen/internal/storage"
)

// RunLarge is the part of the suite that has to do with objects of a megabyte and more, for a store that was told to
// write these in another way.
func RunLarge(t *testing.T, open func(t *testing.T) (store storage.Store, again func() storage.Store)) {
	for name, test := range map[string]func(*testing.T, storage.Store, func() storage.Store){
		"create above the multipart limit":      createLarge,
		"create from a body that ends early":    createShort,
		"create from a body that knows its sum": createDigested,
		"restore":                               restored,
		"cancelled writes":                      cancelledWrites,
	} {
		runOne(t, name, open, test)
	}
}
