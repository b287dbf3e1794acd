package fetcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// ways writes ways down: "2.0.0 2.1.0?", a "?" after each step that is not ready.
func ways(p *Paths) []string {
	var list []string
	for _, w := range p.Ways {
		var steps []string
		for _, s := range w.Steps {
			mark := "?"
			if s.Ready {
				mark = ""
			}
			steps = append(steps, s.Version+mark)
		}
		list = append(list, strings.Join(steps, " "))
	}
	return list
}

// roadWorld has 1.0.0, 1.1.0 (from 1.0.0, or 2.0.0 that comes later), 2.0.0 (from 1.1.0), 2.1.0 (from any 2.0), 3.0.0
// straight from 1.0.0, which is validated, and 3.1.0 from 2.1.0 or 3.0.0, which is published.
func roadWorld(t *testing.T) *catalogtest.World {
	w := newWorld(t)
	ready(w, "openstack@1.0.0", catalogtest.Content{})
	ready(w, "openstack@1.1.0", catalogtest.Content{From: []string{"1.0.0", ">=1.0.5 <1.1", "2.0.0"}})
	ready(w, "openstack@2.0.0", catalogtest.Content{From: []string{"1.1.0"}})
	ready(w, "openstack@2.1.0", catalogtest.Content{From: []string{">=2.0 <2.1"}})
	w.Publish("openstack@3.0.0", catalogtest.Content{From: []string{"1.0.0"}})
	w.Validate("openstack@3.0.0")
	w.Publish("openstack@3.1.0", catalogtest.Content{From: []string{"2.1.0", "3.0.0"}})
	return w
}

func TestPaths(t *testing.T) {
	unchanged := roadWorld(t)
	for _, c := range []struct {
		name, from, to string
		change         func(w *catalogtest.World)
		want           []string
		withheld       string
	}{
		{name: "shortest first, one that can be deployed before one that cannot", from: "1.0.0",
			want: []string{"1.1.0", "3.0.0?", "1.1.0 2.0.0", "3.0.0? 3.1.0?", "1.1.0 2.0.0 2.1.0"}},
		{name: "to one version", from: "1.0.0", to: "2.1.0", want: []string{"1.1.0 2.0.0 2.1.0"}},
		{name: "a shorter way that waits is told too", from: "1.0.0", to: "3.1.0",
			change: func(w *catalogtest.World) { w.Validate("openstack@3.1.0"); w.Certify("openstack@3.1.0") },
			want:   []string{"3.0.0? 3.1.0", "1.1.0 2.0.0 2.1.0 3.1.0"}},
		{name: "from within a range, of a version that is not published", from: "1.0.7", to: "2.0.0", want: []string{"1.1.0 2.0.0"}},
		{name: "no way from a version outside of all", from: "0.9.0"},
		{name: "no way from the newest", from: "3.1.0"},
		{name: "never back", from: "2.0.0", to: "1.1.0"},
		{name: "not over a recalled release", from: "1.0.0", to: "2.1.0",
			change: func(w *catalogtest.World) { w.Recall("openstack@2.0.0", "eats disks") }, withheld: "openstack@2.0.0 it is recalled: eats disks"},
		{name: "not over a yanked release", from: "1.1.0",
			change: func(w *catalogtest.World) { w.Yank("openstack@2.0.0", "superseded") }, withheld: "openstack@2.0.0 it is yanked: superseded"},
		{name: "not to a recalled release", from: "2.0.0", to: "2.1.0",
			change: func(w *catalogtest.World) { w.Recall("openstack@2.1.0", "eats disks") }, withheld: "openstack@2.1.0 it is recalled"},
		{name: "an initial release is no update", from: "2.1.0", to: "1.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := unchanged
			if c.change != nil {
				w = roadWorld(t)
				c.change(w)
			}
			f := at(t, w, "acme/prod", "true")
			got, err := f.Paths(context.Background(), f.view(t), "openstack", c.from, c.to)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(ways(got), c.want) {
				t.Errorf("%q, want %q", ways(got), c.want)
			}
			withheld := ""
			for _, n := range got.Withheld {
				withheld += n.Release.String() + " " + n.Reason
			}
			if !strings.Contains(withheld, c.withheld) || c.withheld == "" && withheld != "" {
				t.Errorf("withheld %q, want %q", withheld, c.withheld)
			}
		})
	}
}

// TestPathsOfManyReleases: 24 releases of which each follows from all before it have 2^22 ways; the shortest are told.
func TestPathsOfManyReleases(t *testing.T) {
	w := newWorld(t)
	for i := range 24 {
		content := catalogtest.Content{From: []string{">=1.0.0"}}
		if i == 0 {
			content = catalogtest.Content{}
		}
		w.Publish(fmt.Sprintf("openstack@1.%d.0", i), content)
	}
	f := at(t, w, "", "")
	got, err := f.Paths(context.Background(), f.view(t), "openstack", "1.0.0", "")
	if err != nil || len(got.Ways) != 23 || len(got.Ways[22].Steps) != 1 {
		t.Errorf("%d ways, %v; want 23 of one step", len(got.Ways), err)
	}
}

// TestPathsOfWhatCannotBeKnown: no half answers.
func TestPathsOfWhatCannotBeKnown(t *testing.T) {
	w := roadWorld(t)
	f := at(t, w, "", "")
	var product *catalog.UnknownProduct
	if _, err := f.Paths(context.Background(), f.view(t), "nope", "1.0.0", ""); !errors.As(err, &product) {
		t.Errorf("%v, want *UnknownProduct", err)
	}
	var release *catalog.UnknownRelease
	if _, err := f.Paths(context.Background(), f.view(t), "openstack", "1.0.0", "9.0.0"); !errors.As(err, &release) {
		t.Errorf("%v, want *UnknownRelease", err)
	}
	role, _ := f.view(t).Role(manifest.RoleRecalled("openstack"))
	overwrite(t, w.Store, manifest.RoleObject(manifest.RoleRecalled("openstack"), role.Version), []byte("garbage"))
	fresh := at(t, w, "", "")
	var refused *trust.Error
	if _, err := fresh.Paths(context.Background(), fresh.view(t), "openstack", "1.0.0", ""); !errors.As(err, &refused) {
		t.Errorf("recalls that were altered: %v, want *trust.Error", err)
	}
}
