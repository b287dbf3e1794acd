package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

type fetchOptions struct {
	release  manifest.Release
	into     string
	seeds    []string
	parallel int
	rate     int64
}

func fetchCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "fetch", Category: groupCustomerCI, Usage: "bring a release into a directory, verified", ArgsUsage: "PRODUCT@VERSION --into DIR",
		Description: "DIR appears complete, with every byte checked, or not at all. A DIR that holds this very release already is left alone. " +
			"What releases fetched before on this host have, and what seeds have, does not move again; a fetch that was interrupted goes on where it was.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "into", Usage: "`DIR` to make"},
			&cli.StringSliceFlag{Name: "seed", Usage: "`PATH` of a file that may share bytes with the release, such as an earlier image, or of a directory with files of the release's own paths; or a pattern of them ('old/*.img'); repeatable, need not be trusted"},
			&cli.IntFlag{Name: "parallel", Usage: "ranges of one artifact at a time, `N` from 1 to 32 (default 4)"},
			&cli.StringFlag{Name: "limit-rate", Usage: "`RATE` in bytes a second: a whole number, or one with K, M or G (KiB, MiB, GiB; 10M is 10 MiB a second)"},
		},
		Action: action(k, func(c *cli.Context) (o fetchOptions, err error) {
			o.into, o.seeds, o.parallel = c.String("into"), c.StringSlice("seed"), c.Int("parallel")
			if c.IsSet("parallel") {
				if err := checkParallel("--parallel", o.parallel); err != nil {
					return o, err
				}
			}
			if o.rate, err = parseRate(c.String("limit-rate")); err != nil {
				return o, usagef("--limit-rate: %v", err)
			}
			if o.release, err = releaseOperand(c); err != nil {
				return o, err
			}
			return o, require(c, "into")
		}, runFetch),
	}
}

// fetchDocument says what was fetched, or why nothing was.
type fetchDocument struct {
	Schema    string `json:"schema"` // kitchen.fetch/v1
	Release   string `json:"release"`
	Fetched   bool   `json:"fetched"`
	Reason    string `json:"reason,omitempty"` // why not
	Hint      string `json:"hint,omitempty"`
	Dir       string `json:"dir,omitempty"`
	SHA256    string `json:"sha256,omitempty"` // of the manifest
	Unchanged bool   `json:"unchanged"`
	Files     int    `json:"files"`
	Size      int64  `json:"size"`
	Moved     int64  `json:"moved"` // bytes that came from the store
	Requests  int    `json:"requests"`
	Kept      int64  `json:"kept"`  // raw bytes that an interrupted fetch had left
	Local     int64  `json:"local"` // raw bytes found on this host, and zeros
	Zeros     int64  `json:"zeros"` // those of them that are zeros
	Delta     int64  `json:"delta"` // raw bytes made by deltas
}

func (d *fetchDocument) human(p *page) {
	switch {
	case !d.Fetched:
		p.verdict(render.Bad, d.Release+" is not available: "+d.Reason)
		p.para(2, "", d.Hint)
	case d.Unchanged:
		p.linef("%s holds %s already, exactly: %d files, %s", d.Dir, d.Release, d.Files, render.Size(d.Size))
	default:
		p.verdict(render.Good, d.Release+" is in "+d.Dir)
		p.linef("%d files; fetched %s of %s%s", d.Files, render.Size(d.Moved), render.Size(d.Size), d.saved())
	}
}

// saved tells where the rest came from.
func (d *fetchDocument) saved() string {
	var parts []string
	for _, part := range []struct {
		n    int64
		what string
	}{{d.Kept, "kept from before"}, {d.Local - d.Zeros, "here already"}, {d.Zeros, "of zeros"}, {d.Delta, "made by deltas"}} {
		if part.n > 0 {
			parts = append(parts, render.Size(part.n)+" "+part.what)
		}
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func runFetch(ctx context.Context, k *kitchen, o fetchOptions) error {
	return k.withCatalog(ctx, func(s *session, v *catalog.View) error {
		f, err := s.fetcher(false)
		if err != nil {
			return err
		}
		f.Transfer.Seeds = append(seedNames(o.seeds), f.Transfer.Seeds...)
		if o.parallel > 0 {
			f.Transfer.Parallel = o.parallel
		}
		if o.rate > 0 && s.store != nil {
			f.Store = storage.Limited(s.store, o.rate, k.now)
		}
		d := &fetchDocument{Schema: "kitchen.fetch/v1", Release: o.release.String()}
		result, err := f.Fetch(ctx, v, o.release, o.into)
		var hidden *fetcher.NotVisible
		if errors.As(err, &hidden) {
			d.Reason, d.Hint = hidden.Reason, hidden.Hint()
			return k.no(d)
		}
		if err != nil {
			return err
		}
		d.Fetched, d.Dir, d.SHA256, d.Unchanged = true, result.Dir, result.SHA256, result.Unchanged
		d.Files, d.Size, d.Moved, d.Requests = result.Files, result.Size, result.Moved, result.Requests
		d.Kept, d.Local, d.Zeros, d.Delta = result.Kept, result.Local, result.Zeros, result.Delta
		return k.show(d)
	})
}

// seedNames are the seeds that a command line names. What is there under that very name is no pattern, and a pattern that
// matches nothing stays, to be told.
func seedNames(given []string) (names []string) {
	for _, name := range given {
		if _, err := os.Lstat(name); err == nil {
			names = append(names, name)
			continue
		}
		if matches, err := filepath.Glob(name); err == nil && len(matches) > 0 {
			names = append(names, matches...)
			continue
		}
		names = append(names, name)
	}
	return names
}

// no shows a document whose answer is no: exit 3.
func (k *kitchen) no(d document) error {
	if err := k.show(d); err != nil {
		return err
	}
	return answer(exitNo)
}
