package catalog_test

import (
	"os"
	"testing"

	"github.com/enovance/kitchen/internal/storage/storagetest"
)

func TestMain(m *testing.M) { os.Exit(storagetest.InMemory(m.Run)) }
