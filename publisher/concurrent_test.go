package publisher_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/publisher"
)

// job is one writer's work, made ready before the race begins.
type job struct {
	name string
	run  func() (*publisher.Outcome, error)
}

// publishes makes a job of its own publisher, state directory and way to the store.
func (w *world) publishes(t *testing.T, store storage.Store, r string, by key) job {
	t.Helper()
	p, dir := w.over(t, store, w.online), source(t, r, nil)
	return job{r, func() (*publisher.Outcome, error) { return p.Publish(ctx, dir, []keys.Signer{by}) }}
}

// race runs all jobs at the same moment; all have to be in effect in the end.
func race(t *testing.T, jobs ...job) {
	t.Helper()
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, len(jobs))
	for i, j := range jobs {
		wg.Go(func() {
			<-start
			out, err := j.run()
			if err == nil && out.Status != publisher.Committed {
				err = fmt.Errorf("%+v", out)
			}
			errs[i] = err
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%s: %v", jobs[i].name, err)
		}
	}
}

// wantSeqs wants every place in the order of releases to be taken once.
func (w *world) wantSeqs(t *testing.T, product string, count int) {
	t.Helper()
	all, err := w.view(t).Releases(product)
	check(t, err)
	for i, info := range all {
		if info.Seq != int64(i+1) || info.Stage != catalog.StagePublished {
			t.Errorf("%s has place %d, is %s; want place %d", info.Release, info.Seq, info.Stage, i+1)
		}
	}
	if len(all) != count {
		t.Errorf("%s has %d releases, want %d", product, len(all), count)
	}
}

func TestTwoEngineersPublishTwoProductsAtTheSameMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for round := range 4 {
		version := fmt.Sprintf("1.%d.0", round)
		race(t, w.publishes(t, openDir(t, w.dir), "openstack@"+version, w.engineer), w.publishes(t, openDir(t, w.dir), "ceph@"+version, w.cephEngineer))
	}
	w.wantSeqs(t, "openstack", 4)
	w.wantSeqs(t, "ceph", 4)
}

func TestTwoEngineersPublishTwoVersionsOfOneProductAtTheSameMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for round := range 3 {
		race(t, w.publishes(t, openDir(t, w.dir), fmt.Sprintf("openstack@%d.0", round), w.engineer),
			w.publishes(t, openDir(t, w.dir), fmt.Sprintf("openstack@%d.1", round), w.colleague))
	}
	w.wantSeqs(t, "openstack", 6)
}

func TestSixWritersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0")
	admin, validator := w.publisher(t, w.online), w.publisher(t, w.online)
	race(t,
		w.publishes(t, openDir(t, w.dir), "openstack@1.1.0", w.engineer),
		w.publishes(t, openDir(t, w.dir), "openstack@1.2.0", w.colleague),
		w.publishes(t, openDir(t, w.dir), "openstack@1.3.0", w.engineer),
		w.publishes(t, openDir(t, w.dir), "ceph@1.0.0", w.cephEngineer),
		job{"customer", func() (*publisher.Outcome, error) {
			return admin.AddCustomer(ctx, publisher.CustomerRequest{Name: "umbrella", Subscribe: []string{"ceph"}}, signers(w.admin))
		}},
		job{"validate", func() (*publisher.Outcome, error) {
			return validator.Validate(ctx, release("openstack@1.0.0"), signers(w.validator))
		}})
	w.wantStage(t, "openstack@1.0.0", "validated")
	if _, err := w.view(t).Customer(ctx, "umbrella"); err != nil {
		t.Error(err)
	}
	all, err := w.view(t).Releases("openstack")
	check(t, err)
	seen := map[int64]bool{}
	for _, info := range all {
		seen[info.Seq] = true
	}
	if len(all) != 4 || len(seen) != 4 || !seen[1] || !seen[4] {
		t.Errorf("releases: %+v", all)
	}
}

func TestTheSameReleaseAtTheSameMomentIsPublishedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	jobs := []job{w.publishes(t, openDir(t, w.dir), "openstack@1.0.0", w.engineer), w.publishes(t, openDir(t, w.dir), "openstack@1.0.0", w.colleague)}
	for i := range jobs {
		run := jobs[i].run
		jobs[i].run = func() (*publisher.Outcome, error) {
			out, err := run()
			if err == nil && out.Status == publisher.Unchanged {
				out.Status = publisher.Committed // the other was first
			}
			return out, err
		}
	}
	race(t, jobs...)
	w.wantSeqs(t, "openstack", 1)
}

func TestTwoCommittersAtTheSameMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{"openstack@1.0.0", "ceph@1.0.0"} {
		by := map[string]key{"openstack@1.0.0": w.engineer, "ceph@1.0.0": w.cephEngineer}[r]
		must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, r, nil), signers(by)))
	}
	var jobs []job
	for i := range 3 {
		p := w.publisher(t, w.online)
		jobs = append(jobs, job{fmt.Sprintf("committer %d", i), func() (*publisher.Outcome, error) {
			result, err := p.Commit(ctx)
			if err == nil && len(result.Refused)+len(result.Incomplete)+len(result.Stale) > 0 {
				err = fmt.Errorf("%+v", result)
			}
			return &publisher.Outcome{Status: publisher.Committed}, err
		}})
	}
	race(t, jobs...)
	w.wantSeqs(t, "openstack", 1)
	w.wantSeqs(t, "ceph", 1)
}

// On a real S3 server, where a tag is the server's and a lost answer looks like a lost race.
func TestTwoEngineersOnAnS3Server(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	open := func() storage.Store { return server.Open(t, bucket, "kitchen", storage.Options{}) }
	w := empty(t)
	w.store = open()
	result, err := publisher.Initialize(ctx, w.store, w.now, w.init(), w.online)
	check(t, err)
	w.fingerprint = result.Fingerprint
	mustCommit(t)(w.publisher(t, w.online).AddProduct(ctx, w.openstack(), signers(w.root[:2]...)))
	race(t, w.publishes(t, open(), "openstack@1.0.0", w.engineer), w.publishes(t, open(), "openstack@1.1.0", w.colleague))
	w.wantSeqs(t, "openstack", 2)
	must(t, publisher.Pending)(w.over(t, open(), nil).Publish(ctx, source(t, "openstack@1.2.0", nil), signers(w.engineer)))
	if result := commit(t, w.over(t, open(), w.online)); len(result.Committed) != 1 {
		t.Errorf("%+v", result)
	}
	w.wantSeqs(t, "openstack", 3)
}
