package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// readSigningFile reads what travels between signers. Nothing in it is trusted by that.
func readSigningFile(path string) (*publisher.SigningFile, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // as in readCapped
	if err != nil {
		return nil, hinted{err, "name the file that was brought here; kitchen sign ROLE --export FILE, or kitchen init --ceremony FILE, writes one"}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, publisher.MaxSigningFile+1))
	if err != nil {
		return nil, err
	}
	file, err := publisher.ParseSigningFile(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

// writeSigningFile writes a new file, or, where a command adds to the one it read, that one.
func writeSigningFile(path string, file *publisher.SigningFile, replace bool) error {
	data, err := file.Encode()
	if err != nil {
		return err
	}
	if replace {
		return durable.WriteFile(path, data, 0o644)
	}
	return durable.CreateExclusive(path, data, 0o644)
}

// openFile opens a signing file as if it were the catalog's store, with the pin and the state directory of this
// host, as ever.
func (k *kitchen) openFile(ctx context.Context, file *publisher.SigningFile) (s *session, err error) {
	s = &session{k: k, url: file.URL(), store: file}
	at := ""
	if k.global.state == "" && k.config.State == "" {
		if at, err = k.catalogURL(); err != nil {
			return nil, usageHint("no state directory, in which this host remembers what it saw", "give --state DIR, or state = \"…\" beside root = \"…\" in kitchen.toml")
		}
	}
	if s.state, err = k.stateDir(at); err != nil {
		return nil, err
	}
	options, err := k.catalogOptions(s.state)
	if err != nil {
		return nil, err
	}
	options.Store = file
	s.catalog, err = k.openCatalog(ctx, options)
	return s, err
}

// runExport writes what waits for a role, or one proposal, into a file.
func runExport(ctx context.Context, k *kitchen, o signOptions) error {
	if err := checkNewFiles(o.export); err != nil {
		return err
	}
	return k.withPublisher(ctx, "", func(_ *session, p *publisher.Publisher) error {
		which, _, err := p.ToSign(ctx, o.which)
		var file *publisher.SigningFile
		var shown []publisher.PendingProposal
		if err == nil {
			file, shown, err = p.Export(ctx, which)
		}
		if err != nil {
			return k.nothingToSign(err)
		}
		if err := writeSigningFile(o.export, file, false); err != nil {
			return err
		}
		d := newOutcome("sign", "", &publisher.Outcome{Status: publisher.Pending})
		for i, w := range shown {
			one := newOutcome("sign", "", &publisher.Outcome{Status: publisher.Pending, Proposal: w.ID, Summary: w.Change, Roles: w.Roles, WaitsFor: w.WaitsFor()})
			one.heading = "to be signed elsewhere"
			if i == 0 {
				d = one
				continue
			}
			d.Others = append(d.Others, one)
		}
		d.Wrote = []string{o.export}
		d.Hint = "at the signer's: `kitchen sign --import " + shellWord(o.export) + " --key FILE`"
		return k.showOutcome(d)
	})
}

// nothingToSign is the answer no where nothing takes a signature; any other error is passed on.
func (k *kitchen) nothingToSign(err error) error {
	nothing, ok := errors.AsType[*publisher.NothingToSign](err)
	if !ok {
		return err
	}
	d := newOutcome("sign", "", &publisher.Outcome{Status: statusRefused, Summary: []string{nothing.Error()}})
	d.Hint = nothing.Hint()
	return k.showOutcome(d)
}

// runSignFile signs what a file holds, without any network.
func runSignFile(ctx context.Context, k *kitchen, o signOptions, file *publisher.SigningFile) (err error) {
	s, err := k.openFile(ctx, file)
	if err != nil {
		return err
	}
	defer s.close(&err)
	signers, err := k.signers(o.keyOptions, file.Role)
	if err != nil {
		return err
	}
	p, err := s.publisher("")
	if err != nil {
		return err
	}
	p.Online, p.OnlineToo = nil, nil // nothing takes effect in a file
	outcome, err := p.SignFile(ctx, file, k.confirmation(o.yes), signers)
	if err != nil {
		return perhapsAltered(err, o.imported)
	}
	return k.carryOn(o, file, newOutcome("sign", "", outcome), func(path string) string {
		return "back at the catalog: `kitchen sign --import " + shellWord(path) + "`"
	})
}

// runSignCeremony signs a catalog that is still to be made.
func runSignCeremony(ctx context.Context, k *kitchen, o signOptions, file *publisher.SigningFile) error {
	c, err := publisher.OpenCeremony(k.now(), file)
	if err != nil {
		return err
	}
	signers, err := k.signers(o.keyOptions, "root", "targets", manifest.RoleRegistry)
	if len(o.keys) == 0 && err != nil {
		return usageHint("no key to sign with; "+o.imported+" waits for "+c.WaitsFor(), afterCeremony(c, o.imported))
	}
	if err != nil {
		return err
	}
	if err := c.Authorize(signers); err != nil {
		return err
	}
	if confirm := k.confirmation(o.yes); confirm != nil && !c.SignedBy(signers) {
		yes, err := confirm(c.Shown(k.now()))
		if err != nil {
			return err
		}
		if !yes {
			d := newOutcome("sign", "", c.Outcome())
			d.Status = publisher.Declined
			return k.showOutcome(d)
		}
	}
	if err := c.Sign(ctx, signers); err != nil {
		return err
	}
	if file, err = c.File(); err != nil {
		return err
	}
	return k.carryOn(o, file, newOutcome("sign", "", c.Outcome()), func(path string) string { return afterCeremony(c, path) })
}

// perhapsAltered says of a file that is not believed what may have become of it on its way.
func perhapsAltered(err error, path string) error {
	untrusted, _ := errors.AsType[*trust.Error](err)
	refusal, refused := errors.AsType[*publisher.Refused](err)
	perhaps := path
	switch {
	case untrusted != nil && untrusted.Kind == trust.Rollback:
		return hinted{err, path + " is older than what this machine has seen: ask whoever sent it for a new one (kitchen sign ROLE --export FILE)"}
	case refused && refusal.Next != "":
		return err // it says what is the matter
	case !refused && (untrusted == nil || untrusted.Kind == trust.Expired):
		return err
	case untrusted != nil && (untrusted.Kind == trust.Threshold || untrusted.Kind == trust.BadSignature):
		perhaps = path + " may be older than an exchange of keys that this machine has seen: ask for a new one. Or it"
	}
	return hinted{err, perhaps + " may have been altered or damaged on its way: ask whoever sent it for it again, and compare its sha256 by another way, such as by telephone (sha256sum " + path +
		"); if that is the same, they look at what waits in the catalog (kitchen pending)"}
}

// carryOn writes a signed file, and says where it goes next.
func (k *kitchen) carryOn(o signOptions, file *publisher.SigningFile, d *outcomeDocument, next func(path string) string) error {
	path := o.export
	if path == "" {
		path = o.imported
	}
	if d.Status == publisher.Pending {
		if err := writeSigningFile(path, file, o.export == ""); err != nil {
			return err
		}
		d.Wrote, d.Hint = []string{path}, next(path)
	}
	return k.showOutcome(d)
}

// runTakeSignatures brings the signatures of a file to the catalog.
func runTakeSignatures(ctx context.Context, k *kitchen, o signOptions, file *publisher.SigningFile) error {
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := p.TakeSignatures(ctx, file)
		if _, ok := errors.AsType[*publisher.Refused](err); ok {
			return perhapsAltered(err, o.imported)
		}
		if err != nil {
			return err
		}
		return k.showOutcome(newOutcome("sign", "", outcome))
	})
}
