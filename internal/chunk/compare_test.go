package chunk

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"testing"
)

func index(names string) (x Index) {
	for _, r := range names {
		x = append(x, Chunk{SHA256: sha256.Sum256([]byte(string(r))), Raw: 1, Stored: 14})
	}
	return x
}

func TestCompare(t *testing.T) {
	d := Compare(index("axbxy"), index("amanbm"))
	if want := []int{1, 4}; !reflect.DeepEqual(d.Gone, want) {
		t.Errorf("gone %v, want %v", d.Gone, want)
	}
	if want := []int{1, 3}; !reflect.DeepEqual(d.Missing, want) {
		t.Errorf("missing %v, want %v", d.Missing, want)
	}
	// By hand: 00000002, then the digests of x, y, m and n.
	if got, want := hex.EncodeToString(d.Churn[:]), "e0bc285b17386e79"; got[:16] != want {
		t.Errorf("churn %s, want %s…", got, want)
	}
	if other := Compare(index("xy"), index("amanbm")); other.Churn == d.Churn {
		t.Error("an earlier one that lacks more chunks has the same churn")
	}
	if same := Compare(index("bbaxy"), index("amanbm")); same.Churn != d.Churn {
		t.Error("an earlier one with the same difference has another churn")
	}
}
