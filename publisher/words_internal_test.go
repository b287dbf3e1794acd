package publisher

import "testing"

// What stays as it was is not told as a change.
func TestWhatIsListedAgainSaysOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	first := map[string]string{"recalled-version": "1", customEvidence: "aa"}
	for want, after := range map[string]map[string]string{
		"":                    first,
		", on other evidence": {"recalled-version": "1", customEvidence: "bb"},
		": recalled-version: 2 (was recalled-version: 1)": {"recalled-version": "2", customEvidence: "bb"},
		": nothing more (was recalled-version: 1)":        {},
	} {
		if got := otherText(first, after); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
