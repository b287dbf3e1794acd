package storage

import (
	"context"
	"os"
)

// Local is a store on this machine, where an object may be written before its name is known, so that nothing is copied, and be
// read as a file. Stores over a network are not.
type Local interface {
	// Spool begins an object without a name.
	Spool(ctx context.Context) (*Spool, error)
	// File opens an object. Whoever writes to the store may change it at any time.
	File(ctx context.Context, key string) (*os.File, error)
}

// Spool is an object on its way into a directory: nobody sees it before Create, and Close, or the end of the process, leaves
// nothing of one that was not created. It is for one writer at a time.
type Spool struct {
	store *dirStore
	temp  *scratch
	size  int64
}

// Spool implements Local.
func (s *dirStore) Spool(ctx context.Context) (*Spool, error) {
	temp, err := s.newScratch(ctx)
	if err != nil {
		return nil, s.fail("create", "", err)
	}
	return &Spool{store: s, temp: temp}, nil
}

// File implements Local.
func (s *dirStore) File(ctx context.Context, key string) (*os.File, error) {
	if err := s.start(ctx, "open", key); err != nil {
		return nil, err
	}
	f, _, err := s.openFile(key)
	return f, s.fail("open", key, err)
}

// Write implements io.Writer.
func (p *Spool) Write(b []byte) (int, error) {
	n, err := p.temp.file.Write(b)
	p.size += int64(n)
	return n, p.store.fail("create", "", err)
}

// ReadAt implements io.ReaderAt, before and after Create.
func (p *Spool) ReadAt(b []byte, off int64) (int, error) { return p.temp.file.ReadAt(b, off) }

// Create gives what was written its name, with the promises of Writer.Create: it is on the disk before, and the name is taken from
// nobody. Nothing is written after it.
func (p *Spool) Create(ctx context.Context, key string) error {
	s := p.store
	if err := s.start(ctx, "create", key); err != nil {
		return err
	}
	if err := checkSize(key, s.url, p.size); err != nil {
		return err
	}
	if taken, err := s.settled(ctx, key, p, p.size); taken || err != nil {
		return err
	}
	if err := p.temp.file.Sync(); err != nil {
		return s.fail("create", key, err)
	}
	return s.place(ctx, key, p.temp, p, p.size)
}

// Close forgets what has no name.
func (p *Spool) Close() error {
	p.temp.discard()
	return nil
}
