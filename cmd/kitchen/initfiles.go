package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// checkInitFiles refuses to overwrite, before anything else happens. A file that a killed run of the same command wrote, byte for
// byte, may be there.
func (k *kitchen) checkInitFiles(ctx context.Context, o initOptions, at string) error {
	exists := checkNewFiles(o.writeConfig, o.writeRoot)
	if !errors.Is(exists, errTaken) {
		return exists
	}
	store, err := k.openStore(ctx, at, false)
	if err != nil {
		return exists
	}
	kind, err := manifest.KindOf(manifest.RootObject(1))
	if err != nil {
		return err
	}
	root, _, err := storage.ReadAll(ctx, store, manifest.RootObject(1), kind.MaxSize)
	if err != nil {
		return exists
	}
	for _, f := range initFiles(o, at, root) {
		have, err := durable.ReadOwn(f.path, int64(len(f.data)))
		if err == nil && !bytes.Equal(have, f.data) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return taken(f.path)
		}
	}
	return nil
}

type initFile struct {
	path string
	data []byte
}

// initFiles are the files that hosts need of a catalog with this first root.
func initFiles(o initOptions, at string, root []byte) (files []initFile) {
	if o.writeRoot != "" {
		files = append(files, initFile{o.writeRoot, root})
	}
	if o.writeConfig == "" {
		return files
	}
	c := newConfigFile("kitchen init", o.writeConfig)
	c.set("catalog", at)
	if o.writeRoot != "" {
		c.set("root", c.relative(o.writeRoot))
	} else {
		c.set("root_fingerprint", catalog.Fingerprint(root))
	}
	c.set("state", c.stateName())
	c.line("")
	c.line("[keys]")
	c.list("online", c.relative(o.online))
	return append(files, initFile{o.writeConfig, c.text.Bytes()})
}

// writeInitFiles writes those that are not there with these very bytes; it never overwrites one.
func writeInitFiles(o initOptions, at string, result *publisher.InitResult, d *initDocument) error {
	for _, f := range initFiles(o, at, result.RootBytes) {
		err := durable.CreateExclusive(f.path, f.data, 0o644)
		if have, again := durable.ReadOwn(f.path, int64(len(f.data))); errors.Is(err, fs.ErrExist) && again == nil && bytes.Equal(have, f.data) {
			continue
		}
		if err != nil {
			return err
		}
		d.Wrote = append(d.Wrote, f.path)
	}
	return nil
}
