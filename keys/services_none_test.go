//go:build nokeyservices

package keys

import (
	"errors"
	"strings"
	"testing"
)

// TestWithoutKeyServices: a small kitchen knows what it lacks, and says how to get it.
func TestWithoutKeyServices(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"awskms:///alias/K", "gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1", "azurekms://v.vault.azure.net/K", "hashivault://K"} {
		_, err := Open(t.Context(), name, nil)
		var bad *BadName
		if CheckName(name) == nil || !errors.As(err, &bad) || !strings.Contains(bad.Reason, "without key services") || !strings.Contains(bad.Hint(), "make build") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(t.Context(), "openkms://K", nil); err == nil || !strings.Contains(err.Error(), "no kind of key") {
		t.Errorf("another scheme: %v", err)
	}
}
