package publisher_test

import (
	"strings"
	"testing"

	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// Who certifies before anything is there is told what comes first.
func TestWhatIsNotValidatedNamesTheNextStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.report(t, "enovance/ci", w.vendorCI, v1, manifest.Passed, nil)
	wantWords(t, w.dry(t, v1, publisher.CertifyRequest{}), "does not list "+v1+"; its CI validates it: kitchen run there, or kitchen validate "+v1+" --key FILE")

	waiting := must(t, publisher.Pending)(w.publisher(t, nil).Validate(ctx, release(v1), signers(w.validator))).Proposal
	wantWords(t, w.dry(t, v1, publisher.CertifyRequest{}), "it is signed, in "+waiting+", and waits for the committer (kitchen commit)")
	_, err := certify(w.publisher(t, nil), v1, w.certA)
	wantError[*publisher.NotCertifiable](t, err, "waits for the committer (kitchen commit)")

	mustCommit(t)(w.publisher(t, w.online).Recall(ctx, release(v1), "broken", signers(w.certA)))
	if says := w.dry(t, v1, publisher.CertifyRequest{}); strings.Contains(says, "kitchen validate") || strings.Contains(says, "kitchen commit") {
		t.Errorf("what is recalled is not validated: %s", says)
	}
}
